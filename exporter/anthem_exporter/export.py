"""A checkpoint becomes a bundle: graphs, vocabulary, parity, manifest, model card; all of it or nothing."""

from __future__ import annotations

import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import onnxruntime

from anthem_core import bundle as bundles
from anthem_core.bundle import ALL_SIGNALS, LEXICAL_CONTAINMENT, Bundle
from anthem_core.errors import BundleError
from anthem_exporter.card import card
from anthem_exporter.graphs import modules, packed, write
from anthem_exporter.parity import ParityReport, check

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthem_model.checkpoint import Checkpoint

FILES = (*bundles.REQUIRED, *bundles.OPTIONAL, "README.md", bundles.MANIFEST)
LIBRARIES = ("torch", "geoopt", "onnx", "onnxscript", "numpy")


def export(checkpoint: Checkpoint, folder: Path, texts: Sequence[str]) -> tuple[Bundle, ParityReport]:
    """Write a bundle, checked against the torch model on texts before it takes its place.

    Raises:
        ParityError: A graph does not compute what the model computes; the folder stays as it was.
        BundleError: The folder cannot be written, or holds something that is no bundle.
    """
    _replaceable(folder)
    with tempfile.TemporaryDirectory(prefix="anthem-export-") as place:
        work = Path(place)
        report = _fill(checkpoint, work, texts)
        bundles.load(work)
        _put(work, folder)
    return bundles.load(folder), report


def _replaceable(folder: Path) -> None:
    """Refuse before the work a folder that cannot take a bundle, or holds anything else than one."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        foreign = sorted({entry.name for entry in folder.iterdir()} - {*FILES, ".keep"})
    except OSError as error:
        raise BundleError(f"{folder} cannot hold a bundle ({error.strerror}); name a folder of yours.") from error
    if foreign:
        raise BundleError(f"{folder} holds {', '.join(foreign[:3])}, which is no bundle's; give an empty folder.")


def _put(work: Path, folder: Path) -> None:
    """Copy a bundle file by file, the manifest last: what is cut off half-way is refused as damaged, never used."""
    try:
        for name in FILES:
            shutil.copyfile(work / name, folder / f".{name}.part")
        for name in FILES:
            (folder / f".{name}.part").replace(folder / name)
    except OSError as error:
        raise BundleError(f"{folder} could not be written ({error.strerror}); is the disk full?") from error
    finally:
        for name in FILES:
            (folder / f".{name}.part").unlink(missing_ok=True)


def _fill(checkpoint: Checkpoint, work: Path, texts: Sequence[str]) -> ParityReport:
    for graph, module in modules(packed(checkpoint.model)).items():
        write(module, graph, work)
    bundles.write_vocabulary(checkpoint.vocabulary, work)
    report = check(checkpoint.model, checkpoint.vocabulary, work, texts)
    bundle = _bundle(checkpoint, work)
    bundles.save_manifest(bundle)
    (work / "README.md").write_text(card(bundle, report), encoding="utf-8")
    return report


def _bundle(checkpoint: Checkpoint, work: Path) -> Bundle:
    shape, calibration = checkpoint.model.shape, checkpoint.calibration
    versions = {name: version(name) for name in LIBRARIES}
    return Bundle(
        path=work,
        model=bundles.model_id(work, checkpoint.vocabulary.rules()),
        dimension=shape.dimension,
        hyperboloids=shape.hyperboloids,
        radius=shape.radius,
        gamma=shape.gamma,
        slack=calibration.slack,
        vocabulary=checkpoint.vocabulary,
        fusion={LEXICAL_CONTAINMENT: calibration.fusion, ALL_SIGNALS: calibration.attentive},
        trained_on=checkpoint.trained_on,
        quality=checkpoint.quality,
        versions={"anthem-search": version("anthem-search"), "onnxruntime": onnxruntime.__version__, **versions},
    )
