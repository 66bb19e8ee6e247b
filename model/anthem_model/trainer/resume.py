"""Resuming a killed training: its state is in a folder next to the checkpoint until the training is complete."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch

from anthem_core.console import stderr
from anthem_core.files import atomic_write

if TYPE_CHECKING:
    from pathlib import Path

RESUME_FORMAT = 2  # rises when the state of another version cannot be resumed


class Resumable(Protocol):
    """An object whose state can be saved and loaded."""

    def state(self) -> dict[str, Any]:
        """Everything that is needed to continue."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from a state."""


@dataclass(frozen=True)
class ResumeFolder:
    """A folder with the state of one training; `fingerprint` identifies everything that its result depends on."""

    folder: Path
    fingerprint: str

    def restore(self, loop: Resumable) -> None:
        """Load the state of the same training if there is one; any other state is ignored."""
        try:
            saved = torch.load(self._file, weights_only=True)
        except FileNotFoundError:
            return
        except Exception as error:  # noqa: BLE001 (torch raises classes of pickle and zipfile)
            self._start_again(f"cannot be read ({type(error).__name__})")
            return
        if not isinstance(saved, dict) or saved.get("format") != RESUME_FORMAT:
            self._start_again(f"is not the state of a training in format {RESUME_FORMAT}")
        elif saved.get("fingerprint") != self.fingerprint:
            self._start_again("belongs to another training")
        else:
            loop.load_state(saved["state"])
            stderr.print(f"resuming after step {saved['state']['progress']['step']}")

    def save(self, loop: Resumable) -> None:
        """Write the state; the previous one is replaced when the new one is complete.

        Raises:
            DataError: The file cannot be written.
        """
        with atomic_write(self._file, make_folder=True) as file:
            torch.save({"format": RESUME_FORMAT, "fingerprint": self.fingerprint, "state": loop.state()}, file)

    def delete(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start_again(self, reason: str) -> None:
        stderr.print(f"{self._file} {reason}; training starts from the beginning")

    @property
    def _file(self) -> Path:
        return self.folder / "state.pt"
