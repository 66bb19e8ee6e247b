"""Runs the commands of docs/first-run.md and of the README's transcript on a new node, and writes their outputs there.

    python docs/make_first_run.py
    python docs/make_first_run.py --esci ../shared/data/esci

In docs/first-run.md, the block below `<!-- output of: COMMAND -->` is replaced; in the README, the rest of the block
below the line `$ anthem search …`. All other text is written by hand.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from anthem_core.errors import DataError
from anthem_sandbox.node.lifecycle import temporary_node

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER = Path(__file__).resolve().parent
FIRST_RUN_PAGE = FOLDER / "first-run.md"
README_PAGE = FOLDER.parent / "README.md"
OUTPUT_BLOCK = re.compile(r"(<!-- output of: (.+?) -->\n\n```text\n)(.*?)(```)", re.DOTALL)
TRANSCRIPT = re.compile(r"(^\$ (anthem search .+?)\n)(.*?)(?=^```)", re.DOTALL | re.MULTILINE)
LAST_SHOWN_PART = "most lost"  # of a report; the searches side by side, which follow, are too long for a page


def replace_outputs(page: str, pattern: re.Pattern[str], outputs: Mapping[str, str]) -> str:
    """A page with the outputs of its commands in the blocks that a pattern finds.

    Raises:
        DataError: The page has no such block.
    """
    if not pattern.search(page):
        raise DataError(
            f"No block matches {pattern.pattern!r}; expected one in docs/first-run.md and one in README.md."
        )
    return pattern.sub(lambda found: found[1] + outputs[found[2]] + "".join(found.groups()[3:]), page)


def shorten_report(text: str) -> str:
    """A report up to the searches that lost most; any other output as it is."""
    parts = text.split("\n\n")
    last = next((number for number, part in enumerate(parts) if part.startswith(LAST_SHOWN_PART)), len(parts))
    return "\n\n".join(parts[: last + 1]).rstrip("\n") + "\n"


@click.command()
@click.option(
    "--esci",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the ESCI sample; without it, its block stays.",
)
def make_first_run(esci: Path | None) -> None:
    """Run the commands of docs/first-run.md and README.md on a new node, and write their outputs.

    Example: python docs/make_first_run.py --esci ../shared/data/esci
    """
    blocks = OUTPUT_BLOCK if esci else re.compile(OUTPUT_BLOCK.pattern.replace(".+?", "anthem demo"), re.DOTALL)
    patterns = {FIRST_RUN_PAGE: blocks, README_PAGE: TRANSCRIPT}
    with temporary_node() as url, tempfile.TemporaryDirectory() as folder:
        outputs = {
            found[2]: run_command(found[2], url, folder, esci)
            for path, pattern in patterns.items()
            for found in pattern.finditer(path.read_text(encoding="utf-8"))
        }
    for path, pattern in patterns.items():  # read again: they may have been edited in these minutes
        path.write_text(replace_outputs(path.read_text(encoding="utf-8"), pattern, outputs), encoding="utf-8")


def run_command(command: str, url: str, folder: str, esci: Path | None) -> str:
    """What a command prints on standard output, on the cluster at a URL and in a folder; a report is shortened."""
    click.echo(command, err=True)
    words = [str(esci.resolve()) if esci and word.endswith("/esci") else word for word in shlex.split(command)]
    done = subprocess.run(
        [sys.executable, "-m", "anthem_search", *words[1:]],
        cwd=folder, env=os.environ | {"ANTHEM_TEST_URL": url, "OPENSEARCH_URL": url},
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return shorten_report(done.stdout)


if __name__ == "__main__":
    make_first_run()
