"""A training that was killed goes on: its state lies in a folder beside the checkpoint until it is done."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch

from anthem_core.console import stderr
from anthem_core.files import atomic_write

if TYPE_CHECKING:
    from pathlib import Path


class Resumable(Protocol):
    """What can be left and taken up again."""

    def state(self) -> dict[str, Any]:
        """All it needs to go on."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from there."""


@dataclass(frozen=True)
class ResumeFolder:
    """A folder with the state of one training; `of` names all that decides what it computes."""

    folder: Path
    of: str

    def restore(self, course: Resumable) -> None:
        """Take up the state that was kept for the same training, if there is one; another's is put away."""
        try:
            state = torch.load(self._file, weights_only=True)
        except FileNotFoundError:
            return
        except Exception as error:  # noqa: BLE001 (torch raises classes of pickle and zipfile; a torn file starts anew)
            stderr.print(f"{self._file} cannot be read ({type(error).__name__}); training starts anew")
            return
        if not isinstance(state, dict) or state.get("of") != self.of:
            stderr.print(f"{self._file} is of another training; this one starts anew")
            return
        course.load_state(state["course"])
        stderr.print(f"going on after step {state['course']['progress']['step']}")

    def keep(self, course: Resumable) -> None:
        """Write the state; the one before stays until the new one is whole.

        Raises:
            DataError: It cannot be written.
        """
        beside = self._file.with_suffix(".part")
        with atomic_write(self._file, beside):
            self.folder.mkdir(parents=True, exist_ok=True)
            torch.save({"of": self.of, "course": course.state()}, beside)

    def forget(self) -> None:
        """Remove the folder once the training is done."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _file(self) -> Path:
        return self.folder / "state.pt"
