"""The two encoders of a bundle, run by ONNX Runtime: query and product texts to hyperbolic geometry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from anthem_core.encoding.bundle import PRODUCT_GRAPH, QUERY_GRAPH, Bundle
from anthem_core.encoding.stored_vectors import pack_points
from anthem_core.encoding.tokenizer import pad_ids
from anthem_core.errors import BundleError
from anthem_core.geometry.regions import EncodedQuery

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anthem_core.encoding.stored_vectors import Vector
    from anthem_core.geometry.lorentz import Array

ENCODER_BATCH_SIZE = 64  # product texts per run of the graph


class Encoder:
    """Query and product encoder of a bundle; thread-safe.

    Raises:
        BundleError: ONNX Runtime cannot read a graph, or a graph does not match the manifest.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        self.bundle = bundle
        self._query_graph = open_session(bundle.path / QUERY_GRAPH, threads)
        self._product_graph = open_session(bundle.path / PRODUCT_GRAPH, threads)
        self._check_output(self._product_graph, "points", bundle.dimension + 1)
        self._check_output(self._query_graph, "centres", bundle.hyperboloids, bundle.dimension + 1)

    def _check_output(self, graph: Any, output: str, *expected: int) -> None:  # noqa: ANN401 (ONNX Runtime has no types)
        shapes = {value.name: value.shape[1:] for value in graph.get_outputs()}
        if shapes.get(output) != list(expected):
            raise BundleError(
                f"{self.bundle.path}: the graph's output `{output}` has shape {shapes.get(output)}; the manifest says "
                f"dimension {self.bundle.dimension} and {self.bundle.hyperboloids} hyperboloids, so "
                f"{list(expected)} was expected. Copy the whole folder again, or run `anthem export` again."
            )

    def encode_query(self, text: str) -> EncodedQuery | None:
        """Hyperboloids of a query text; None for a text without letters or digits, which is not reranked."""
        ids = self.bundle.vocabulary.query_ids(text)
        if not ids:
            return None
        trigrams, mask = pad_ids([ids])
        outputs = self._query_graph.run(None, {"trigrams": trigrams, "mask": mask})
        centres, limits, weights, entities, intersections = (output[0] for output in outputs)
        return EncodedQuery(centres, limits, weights, entities, intersections)

    def encode_products(self, texts: Sequence[str]) -> Array:
        """Points of product texts, `(N, D+1)`; a text without letters or digits gets a valid but arbitrary point."""
        points = np.empty((len(texts), self.bundle.dimension + 1), np.float32)
        ids = [self.bundle.vocabulary.title_ids(text) for text in texts]
        # Texts of similar length share a batch: padding costs as much to compute as text.
        order = sorted(range(len(ids)), key=lambda number: len(ids[number]))
        for start in range(0, len(order), ENCODER_BATCH_SIZE):
            rows = order[start : start + ENCODER_BATCH_SIZE]
            trigrams, mask = pad_ids([ids[row] for row in rows])
            points[rows] = self._product_graph.run(["points"], {"trigrams": trigrams, "mask": mask})[0]
        return points

    def encode_vectors(self, texts: Sequence[str]) -> Vector:
        """Points of product texts as an index stores them, `(N, D)`."""
        return pack_points(self.encode_products(texts), self.bundle.vector_step)


def open_session(path: Path, threads: int = 1) -> Any:  # noqa: ANN401 (ONNX Runtime has no types)
    """ONNX Runtime session of a graph, on the CPU.

    Raises:
        BundleError: ONNX Runtime cannot read the file.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        raise BundleError(
            f"{path}: ONNX Runtime {onnxruntime.__version__} cannot read this graph ({error}). "
            "Export it again, or install a newer onnxruntime."
        ) from error


def open_checked_session(path: Path, inputs: Sequence[str], outputs: Sequence[str], threads: int = 1) -> Any:  # noqa: ANN401
    """ONNX Runtime session of a graph with exactly these inputs and outputs.

    Raises:
        BundleError: ONNX Runtime cannot read the file, or its inputs and outputs are others.
    """
    graph = open_session(path, threads)
    expected = (tuple(inputs), tuple(outputs))
    names = tuple(tuple(value.name for value in values) for values in (graph.get_inputs(), graph.get_outputs()))
    if names != expected:
        raise BundleError(
            f"{path} has inputs and outputs {names}; expected {expected}. "
            "Copy the whole folder again, or run `anthem export` again."
        )
    return graph
