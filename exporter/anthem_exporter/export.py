"""From a checkpoint to a bundle: graphs, vocabulary, parity check, manifest and model card; all of it or nothing."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime

from anthem_core.encoding import bundle as bundles
from anthem_core.encoding.bundle import Bundle
from anthem_core.encoding.encoder import open_session
from anthem_core.encoding.packed_titles import MAX_STORED_ID
from anthem_core.encoding.stored_vectors import choose_step
from anthem_core.encoding.tokenizer import pad_ids
from anthem_core.errors import BundleError
from anthem_core.fusion import FusionWeights
from anthem_exporter.graphs import TEXT_INPUTS, export_graph, graph_modules, pack_tables
from anthem_exporter.parity import ParityReport, check_parity
from anthem_model.base_model import write_training_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from anthem_core.encoding.tokenizer import Vocabulary
    from anthem_model.checkpoint import Checkpoint

BUNDLE_FILES = (*bundles.REQUIRED_FILES, *bundles.OPTIONAL_FILES, "README.md", bundles.MANIFEST_FILE)
RECORDED_LIBRARIES = ("torch", "geoopt", "onnx", "onnxscript", "numpy")


def export_bundle(
    checkpoint: Checkpoint, folder: Path, texts: Sequence[str], advance: Callable[[int], object] = lambda _: None
) -> tuple[Bundle, ParityReport]:
    """Write a bundle; its graphs are first compared with the torch model on texts, which `advance` reports.

    Raises:
        ParityError: A graph does not compute what the model computes; the folder is not changed.
        BundleError: The folder cannot be written, or contains other files than a bundle, or the model has too many ids.
    """
    _check_storable(checkpoint)
    _check_replaceable(folder)
    with tempfile.TemporaryDirectory(prefix="anthem-export-") as temporary:
        work = Path(temporary)
        report = _write_bundle(checkpoint, work, texts, advance)
        bundles.load_bundle(work)
        _copy_bundle(work, folder)
    return bundles.load_bundle(folder), report


def _check_storable(checkpoint: Checkpoint) -> None:
    """Fail before the export if ids do not fit in what an index stores of a title."""
    if (ids := len(checkpoint.vocabulary)) > MAX_STORED_ID + 1:
        raise BundleError(
            f"The model has {ids} ids; an index stores ids up to {MAX_STORED_ID}. Train with a smaller vocabulary."
        )


def _check_replaceable(folder: Path) -> None:
    """Fail before the export if the folder cannot be written or contains other files than a bundle."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        foreign = sorted({entry.name for entry in folder.iterdir()} - {*BUNDLE_FILES, ".keep"})
    except OSError as error:
        raise BundleError(f"{folder} cannot be written ({error.strerror}). Name a writable folder.") from error
    if foreign:
        names = ", ".join(foreign[:3])
        raise BundleError(f"{folder} contains files that do not belong to a bundle ({names}). Name an empty folder.")


def _copy_bundle(work: Path, folder: Path) -> None:
    """Copy a bundle file by file, the manifest last, so that a partial copy is rejected as damaged.

    Files that only the folder's former bundle had are removed.
    """
    names = [name for name in BUNDLE_FILES if (work / name).is_file()]
    try:
        for name in names:
            shutil.copyfile(work / name, folder / f".{name}.part")
        for name in {*BUNDLE_FILES}.difference(names):
            (folder / name).unlink(missing_ok=True)
        for name in names:
            (folder / f".{name}.part").replace(folder / name)
    except OSError as error:
        raise BundleError(f"{folder} could not be written ({error.strerror}). Is the disk full?") from error
    finally:
        for name in BUNDLE_FILES:
            (folder / f".{name}.part").unlink(missing_ok=True)


def _write_bundle(
    checkpoint: Checkpoint, work: Path, texts: Sequence[str], advance: Callable[[int], object]
) -> ParityReport:
    for graph, module in graph_modules(pack_tables(checkpoint.model)).items():
        export_graph(module, graph, work)
    bundles.write_vocabulary(checkpoint.vocabulary, work)
    write_training_file(checkpoint, work)
    report = check_parity(checkpoint.model, checkpoint.vocabulary, work, texts, advance)
    bundle = _describe_bundle(checkpoint, work, measure_step(work, checkpoint.vocabulary, texts))
    bundles.save_manifest(bundle)
    (work / "README.md").write_text(model_card(bundle, report), encoding="utf-8")
    return report


def measure_step(folder: Path, vocabulary: Vocabulary, texts: Sequence[str]) -> float:
    """Step of stored vectors that suits the points of texts, computed by the exported graph."""
    graph = open_session(folder / bundles.PRODUCT_GRAPH)
    ids = [ids for text in texts if (ids := vocabulary.title_ids(text))]
    points = [graph.run(["points"], dict(zip(TEXT_INPUTS, pad_ids([row]), strict=True)))[0] for row in ids]
    return choose_step(np.concatenate(points))


def _describe_bundle(checkpoint: Checkpoint, work: Path, vector_step: float) -> Bundle:
    shape, calibration = checkpoint.model.shape, checkpoint.calibration
    versions = {name: version(name) for name in RECORDED_LIBRARIES}
    bundle = Bundle(
        path=work,
        model_id="",
        dimension=shape.dimension,
        hyperboloids=shape.hyperboloids,
        radius=shape.radius,
        gamma=shape.gamma,
        vector_step=vector_step,
        slack=calibration.slack,
        vocabulary=checkpoint.vocabulary,
        fusion=calibration.fusion,
        trained_on=checkpoint.trained_on,
        quality=checkpoint.quality,
        versions={"anthem-search": version("anthem-search"), "onnxruntime": onnxruntime.__version__, **versions},
    )
    return replace(bundle, model_id=bundles.compute_model_id(work, bundle.rules()))


def model_card(bundle: Bundle, report: ParityReport) -> str:
    """README of a bundle in Markdown: sizes, training data, quality, fusion weights, parity report and usage."""
    return f"""# ANTHEM bundle {bundle.model_id}

A reranker for product search. A query becomes {_count_hyperboloids(bundle)} in {bundle.dimension} dimensions,
and an attention table. A product becomes a point, which matches when it lies inside, and a list of ids of words and
trigrams with weights. It loads with ONNX Runtime alone.

| | |
|---|---|
| size | {bundle.size_bytes / 1e6:.1f} MB |
| vocabulary | {_describe_vocabulary(bundle.vocabulary)} |
| radius bound, γ, default slack | {bundle.radius}, {bundle.gamma}, {bundle.slack:.4f} |
| step of stored vectors | {bundle.vector_step} |
| trained on | {", ".join(bundle.trained_on)} |
| quality | `{json.dumps(bundle.quality)}` |

{_fusion_table(bundle.fusion)}

```
{report}
```

Use: `anthem ingest INDEX --bundle FOLDER`, then `anthem search INDEX QUERY --bundle FOLDER`.
"""


def _count_hyperboloids(bundle: Bundle) -> str:
    return "a hyperboloid" if bundle.hyperboloids == 1 else f"{bundle.hyperboloids} hyperboloids"


def _describe_vocabulary(vocabulary: Vocabulary) -> str:
    """Numbers of words, trigrams and buckets, and the version of the text rules."""
    words = [f"{len(vocabulary.words)} words"] if vocabulary.words else []
    parts = [*words, f"{len(vocabulary.trigrams)} trigrams", f"{vocabulary.buckets} hash buckets"]
    return f"{', '.join(parts[:-1])} and {parts[-1]}; text rules {vocabulary.text_rules.version}"


def _fusion_table(fusion: Mapping[str, FusionWeights]) -> str:
    """Table in Markdown: a row for every set of signals, a column for every weight."""
    names = [field.name for field in fields(FusionWeights)]
    rows = [[signals, *(f"{weights.to_dict()[name]:.4f}" for name in names)] for signals, weights in fusion.items()]
    lines = [["fusion weights", *names], ["---"] * (1 + len(names)), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
