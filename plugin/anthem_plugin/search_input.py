"""What `anthem search` searches for: words of the command line, or a search body from a file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

import click

from anthem_core.encoding.query_operators import split_query_text
from anthem_core.errors import DataError
from anthem_plugin.rewriter.placeholder import QUERY_PLACEHOLDER, fill_text
from anthem_plugin.rewriter.query_text import find_query_text
from anthem_plugin.rewriter.rescore import page_bounds

if TYPE_CHECKING:
    from anthem_plugin.rewriter.query_text import QueryPath

DEFAULT_HITS = 10


class SearchOptions(TypedDict):
    """Options of the command that say what to search for."""

    query: str | None
    body_file: str | None
    query_paths: tuple[str, ...]
    size: int | None


class TextOptions(TypedDict):
    """Arguments of `AnthemClient.search` that say what the query text is."""

    query_text: str | None
    query_path: QueryPath | None


@dataclass(frozen=True, slots=True)
class SearchInput:
    """A search of the command line: its body, the query text if it is known, and where each came from."""

    body: dict[str, Any]
    text: str | None
    found_by: TextOptions
    file: str | None = None

    @property
    def name(self) -> str:
        """The search in a sentence: its text, or the file of its body."""
        return f"'{self.text}'" if self.text is not None else f"the body of {_file_name(self.file or '')}"

    @property
    def start(self) -> int:
        """Position of the first hit that is shown."""
        return page_bounds(self.body)[0]

    def phrases(self, *, operators: bool) -> list[str]:
        """The phrases of the query text, none if it is not known."""
        return split_query_text(self.text or "", operators=operators)

    def widened(self, window: int) -> dict[str, Any]:
        """The body for all hits of the window and of the page; itself if its page is invalid, as OpenSearch will say.

        It has nothing that costs time and is not shown.
        """
        body = {key: value for key, value in self.body.items() if key not in ("aggs", "aggregations", "highlight")}
        try:
            start, size = page_bounds(body)
        except (TypeError, ValueError):
            return body
        return body if size < 0 or start < 0 else {**body, "from": 0, "size": max(start + size, window)}


def read_input(field: str, options: SearchOptions) -> SearchInput:
    """The search that the options of the command describe; words alone are searched for in `field`.

    Raises:
        DataError: The file cannot be read, is no JSON object, or has a place for words that were not given.
    """
    query, file, size = options["query"], options["body_file"], options["size"]
    found_by: TextOptions = {"query_text": query, "query_path": options["query_paths"] or None}
    if file is None:
        body = {"query": {"match": {field: {"query": query}}}, "size": DEFAULT_HITS if size is None else size}
        return SearchInput(body, query, found_by)
    body = _fill_body(read_body(file), query, file)
    body |= {} if size is None else {"size": size}
    text = find_query_text(body, found_by["query_path"]) if query is None else query
    return SearchInput(body, text, found_by, file)


def check_input(options: SearchOptions) -> None:
    """Check that the command line has words or a body, and a path only for a body without words.

    Raises:
        click.UsageError: It has not.
    """
    query, file, paths = options["query"], options["body_file"], options["query_paths"]
    if query is None and file is None:
        raise click.UsageError("Missing argument 'QUERY'. Give the words to search for, or a body with --body FILE.")
    if paths and file is None:
        raise click.UsageError("--query-path leads to the words of a body; give one with --body FILE.")
    if paths and query is not None:
        raise click.UsageError("QUERY and --query-path both say what the words are; give one of them.")


def _fill_body(body: dict[str, Any], query: str | None, file: str) -> dict[str, Any]:
    """The body with QUERY in the places of `{{query}}`."""
    filled: dict[str, Any] = fill_text(body, query or "")
    if query is None and filled != body:
        raise DataError(f"{_file_name(file)} has a place for words, {QUERY_PLACEHOLDER}. Give the words as QUERY.")
    return filled


def read_body(file: str) -> dict[str, Any]:
    """The search body in a file, or in standard input for `-`.

    Raises:
        DataError: The file cannot be read, or is no JSON object.
    """
    name = _file_name(file)
    try:
        with click.open_file(file, "rb") as stream:
            body = json.loads(stream.read().decode("utf-8-sig"))
    except OSError as error:
        raise DataError(f"{name} could not be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f'{name} is not JSON ({error}). Expected a search body, such as {{"query": …}}.') from error
    if not isinstance(body, dict):
        raise DataError(f'{name} is not a JSON object. Expected a search body, such as {{"query": …}}.')
    return body


def _file_name(file: str) -> str:
    return "Standard input" if file == "-" else file
