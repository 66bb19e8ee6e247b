"""Writes a copy of a bundle with other fusion weights and another window: complete, or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anthem_core.encoding.bundle import list_bundle_files, load_bundle, save_manifest
from anthem_core.errors import BundleError
from anthem_core.files import write_text
from anthem_plugin.scoring.params import FUSION_NAMES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anthem_core.encoding.bundle import Bundle
    from anthem_core.fusion import FusionWeights
    from anthem_plugin.scoring.params import Signals

MODEL_CARD = "README.md"
_FOLDER_MODE = 0o755  # a temporary folder is readable by its owner alone


def check_new_folder(folder: Path) -> None:
    """Check before the work that a bundle can be written to a folder, which must not exist or be empty.

    Raises:
        BundleError: It has files, or cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise BundleError(f"{folder} exists already. Name a new or an empty folder with --output.")
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".anthem-"):
            pass
    except OSError as error:
        raise BundleError(f"{folder} cannot be written ({error.strerror}). Name another folder.") from error


def write_tuned_bundle(
    bundle: Bundle, folder: Path, signals: Signals, fusion: FusionWeights, window: int, record: Mapping[str, Any]
) -> Bundle:
    """Write a copy of a bundle with the weights of a set of signals and a window; `record` goes into its quality.

    Graphs and vocabulary are the same, and so is the model id: an index needs no new ingest.

    Raises:
        BundleError: The folder has files, or cannot be written.
    """
    check_new_folder(folder)
    try:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".anthem-") as temporary:
            work = Path(temporary) / folder.name
            work.mkdir(mode=_FOLDER_MODE)
            for name in list_bundle_files(bundle.path):
                shutil.copyfile(bundle.path / name, work / name)
            fusions = bundle.fusion | {FUSION_NAMES[signals]: fusion}
            quality = {**bundle.quality, "tuned": dict(record)}
            save_manifest(replace(bundle, path=work, fusion=fusions, window=window, quality=quality))
            _write_card(bundle, work, FUSION_NAMES[signals], fusion, window, record)
            load_bundle(work)
            os.replace(work, folder)  # noqa: PTH105 (a folder replaces an empty one)
    except OSError as error:
        raise BundleError(f"{folder} could not be written ({error.strerror}). Is the disk full?") from error
    return load_bundle(folder)


def _write_card(
    bundle: Bundle, work: Path, name: str, fusion: FusionWeights, window: int, record: Mapping[str, Any]
) -> None:
    """The model card: what was tuned, then the card of the bundle that it was tuned from."""
    former = bundle.path / MODEL_CARD
    card = former.read_text(encoding="utf-8") if former.is_file() else ""
    weights = json.dumps(fusion.to_dict(), indent=2)
    write_text(
        work / MODEL_CARD,
        f"""# Tuned copy of ANTHEM bundle {bundle.model_id}

`anthem tune` changed the weights of {name}, and the window to {window} hits:

```
{weights}
```

Measured on held-out queries:

```
{json.dumps(dict(record), indent=2, ensure_ascii=False)}
```

Everything else is as in the bundle that it was made from. Of its card below, the weights of {name} no longer hold.

{card}""",
    )
