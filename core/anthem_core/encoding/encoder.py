"""The two encoders of a bundle in ONNX Runtime: text in, hyperbolic geometry out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from anthem_core.encoding.bundle import PRODUCT_GRAPH, QUERY_GRAPH, Bundle
from anthem_core.encoding.tokenizer import pad_ids
from anthem_core.errors import BundleError
from anthem_core.geometry.regions import EncodedQuery

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anthem_core.geometry.lorentz import Array

ENCODER_BATCH_SIZE = 64


class Encoder:
    """Query and product encoder of a bundle; safe to share between threads.

    Raises BundleError when ONNX Runtime cannot read a graph, or the graph does not fit the manifest.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        self.bundle = bundle
        self._query = open_session(bundle.path / QUERY_GRAPH, threads)
        self._product = open_session(bundle.path / PRODUCT_GRAPH, threads)
        self._check(self._product, "points", bundle.dimension + 1)
        self._check(self._query, "centres", bundle.hyperboloids, bundle.dimension + 1)

    def _check(self, graph: Any, output: str, *wanted: int) -> None:  # noqa: ANN401 (ONNX Runtime has no types)
        shapes = {value.name: value.shape[1:] for value in graph.get_outputs()}
        if shapes.get(output) != list(wanted):
            raise BundleError(
                f"{self.bundle.path}: the manifest says dimension {self.bundle.dimension} and "
                f"{self.bundle.hyperboloids} hyperboloids, so `{output}` of shape {list(wanted)} were wanted; the "
                f"graph gives {shapes.get(output)}. Copy the whole folder again, or run `anthem export` once more."
            )

    def query(self, text: str) -> EncodedQuery | None:
        """Hyperboloids of a query text; None for one without letters or digits, which is left to OpenSearch."""
        ids = self.bundle.vocabulary.query_ids(text)
        if not ids:
            return None
        trigrams, mask = pad_ids([ids])
        values = self._query.run(None, {"trigrams": trigrams, "mask": mask})
        centres, limits, weights, entities, intersections = (value[0] for value in values)
        return EncodedQuery(centres, limits, weights, entities, intersections)

    def products(self, texts: Sequence[str]) -> Array:
        """Points of product texts, `(N, D+1)`; a text without letters or digits gives some valid point."""
        points = np.empty((len(texts), self.bundle.dimension + 1), np.float32)
        ids = [self.bundle.vocabulary.title_ids(text) for text in texts]
        # Texts of like length share a batch: padding is computed as dearly as text.
        order = sorted(range(len(ids)), key=lambda number: len(ids[number]))
        for start in range(0, len(order), ENCODER_BATCH_SIZE):
            rows = order[start : start + ENCODER_BATCH_SIZE]
            trigrams, mask = pad_ids([ids[row] for row in rows])
            points[rows] = self._product.run(["points"], {"trigrams": trigrams, "mask": mask})[0]
        return points


def open_session(path: Path, threads: int = 1) -> Any:  # noqa: ANN401 (ONNX Runtime has no types)
    """ONNX Runtime session of a graph on the CPU.

    Raises:
        BundleError: ONNX Runtime cannot read the file.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises classes of its own that share no base
        raise BundleError(
            f"{path}: ONNX Runtime {onnxruntime.__version__} cannot read it ({error}). "
            "Export again, or install a newer onnxruntime."
        ) from error
