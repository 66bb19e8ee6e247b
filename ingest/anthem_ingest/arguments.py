"""The arguments of `anthem ingest`, and what their texts may be."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import click

from anthem_core.output_files import bundle_files, check_output_files


def parse_delimiter(_: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    """One character; `tab` and `\\t` are a tab."""
    delimiter = {"tab": "\t", "\\t": "\t"}.get(text or "", text)
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise click.BadParameter("Expected one character, or the word tab.", param=parameter)
    return delimiter


def check_slices(_: click.Context, parameter: click.Parameter, slices: int) -> int:
    """The number of processes, unless it is more than the machine can use."""
    if slices > 1:
        from anthem_ingest.slices import check_processes

        try:
            check_processes(slices)
        except ValueError as error:
            raise click.BadParameter(str(error), param=parameter) from None
    return slices


def check_object_name(_: click.Context, parameter: click.Parameter, name: str | None) -> str | None:
    """A name that an object can have, and that has no other meaning."""
    if name == "anthem_current" or re.fullmatch(r"anthem_[0-9a-f]{8}", name or ""):
        raise click.BadParameter(
            f"{name} is reserved: `anthem_current`, and `anthem_` with eight hexadecimal digits, are names that "
            "--beside gives. Expected another name, such as anthem_values.",
            param=parameter,
        )
    if name is not None and not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
        raise click.BadParameter(
            "Expected letters, digits, '_' and '-', and a letter first, such as anthem_values.", param=parameter
        )
    return name


@dataclass(frozen=True)
class IngestArguments:
    """Arguments and options of `anthem ingest`."""

    index: str
    bundle_name: str
    corpus: Path | None
    file_format: str | None
    id_field: str | None
    delimiter: str | None
    on_duplicate: str | None
    partial: bool
    text_fields: tuple[str, ...]
    signals: str | None
    rate: float | None
    follow: bool
    interval: float
    slices: int
    beside: bool
    prune: bool
    ann: bool
    object_name: str | None
    template: bool
    yes: bool
    dead_letter: Path | None
    url: str | None

    @property
    def dead_letter_path(self) -> Path:
        """File for failures."""
        return self.dead_letter or default_dead_letter_path(self.index)

    @property
    def options_of_files(self) -> list[str]:
        """Options that say how to read a file, and were given."""
        given = {
            "--format": self.file_format,
            "--id": self.id_field,
            "--delimiter": self.delimiter,
            "--on-duplicate": self.on_duplicate,
            "--partial": self.partial,
        }
        return [name for name, value in given.items() if value]


def check_arguments(arguments: IngestArguments) -> None:
    """Check that the options go together, and that the file for failures is not one that is read.

    Raises:
        click.UsageError: Options contradict each other, or the file for failures is also an input.
    """
    if not arguments.corpus and arguments.options_of_files:
        names = " and ".join(arguments.options_of_files)
        raise click.UsageError(f"{names} can only be used with --corpus, which names a file of products.")
    if arguments.corpus and arguments.template:
        raise click.UsageError("--template writes nothing and reads no file: it cannot be used with --corpus.")
    if arguments.corpus and arguments.slices > 1:
        raise click.UsageError("--slices divides an index, not a file: it cannot be used with --corpus.")
    if arguments.corpus and arguments.beside:
        raise click.UsageError(
            "--beside keeps the values of another model, and a load replaces whole products, those values included. "
            "Load the file without --beside, then run the command without --corpus."
        )
    if arguments.ann and arguments.signals == "attention":
        raise click.UsageError("--ann builds graphs of vectors: it cannot be used with --signals attention.")
    check_output_files(
        {"--dead-letter": arguments.dead_letter_path},
        {"--corpus": arguments.corpus, "--bundle": bundle_files(arguments.bundle_name)},
    )


def default_dead_letter_path(index: str) -> Path:
    """File for failures where none is named."""
    return Path(f"{index.replace('/', '_')}.dead-letter.jsonl")
