"""A checkpoint becomes a bundle: graphs, vocabulary, parity, manifest, model card; all of it or nothing."""

from __future__ import annotations

import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import onnxruntime

from anthem_core import bundle as bundles
from anthem_core.bundle import LEXICAL_CONTAINMENT, Bundle
from anthem_core.errors import BundleError
from anthem_exporter.card import card
from anthem_exporter.graphs import modules, write
from anthem_exporter.parity import ParityReport, check

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthem_model.checkpoint import Checkpoint

LIBRARIES = ("torch", "geoopt", "onnx", "onnxscript", "numpy")


def export(checkpoint: Checkpoint, folder: Path, texts: Sequence[str]) -> tuple[Bundle, ParityReport]:
    """Write a bundle, checked against the torch model on texts before it takes its place.

    Raises:
        ParityError: A graph does not compute what the model computes; the folder stays as it was.
        BundleError: The folder holds something that is no bundle.
    """
    if folder.exists() and not (folder / bundles.MANIFEST).is_file() and any(folder.iterdir()):
        raise BundleError(f"{folder} holds something else than a bundle; give an empty folder or one to replace.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-") as place:
        work = Path(place) / "bundle"
        work.mkdir()
        report = _fill(checkpoint, work, texts)
        if folder.exists():
            folder.rename(Path(place) / "old")
        shutil.move(work, folder)
    return bundles.load(folder), report


def _fill(checkpoint: Checkpoint, work: Path, texts: Sequence[str]) -> ParityReport:
    for graph, module in modules(checkpoint.model).items():
        write(module, graph, work)
    bundles.write_vocabulary(checkpoint.vocabulary, work)
    report = check(checkpoint.model, checkpoint.vocabulary, work, texts)
    bundle = _bundle(checkpoint, work)
    bundles.save_manifest(bundle)
    (work / "README.md").write_text(card(bundle, report), encoding="utf-8")
    return report


def _bundle(checkpoint: Checkpoint, work: Path) -> Bundle:
    shape = checkpoint.model.shape
    versions = {name: version(name) for name in LIBRARIES}
    return Bundle(
        path=work,
        model=bundles.model_id(work, checkpoint.vocabulary.rules()),
        dimension=shape.dimension,
        hyperboloids=shape.hyperboloids,
        radius=shape.radius,
        gamma=shape.gamma,
        slack=checkpoint.calibration.slack,
        vocabulary=checkpoint.vocabulary,
        fusion={LEXICAL_CONTAINMENT: checkpoint.calibration.fusion},
        trained_on=checkpoint.trained_on,
        quality=checkpoint.quality,
        versions={"anthem-search": version("anthem-search"), "onnxruntime": onnxruntime.__version__, **versions},
    )
