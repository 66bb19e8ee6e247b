"""Options and inputs that `anthem evaluate` and `anthem tune` share: judgments, and how an index is searched."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from anthem_core.console import stderr
from anthem_core.errors import DataError
from anthem_core.output_files import bundle_files, check_output_files
from anthem_evaluation.judgments import JUDGMENT_FORMATS, read_judgments
from anthem_evaluation.ubi.click_log import DEFAULT_CLICK_ACTION, MIN_IMPRESSIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Literal, TypeAlias

    from opensearchpy import OpenSearch

    from anthem_core.output_files import Paths
    from anthem_evaluation.judgments import JudgedQueries, JudgmentFormat
    from anthem_plugin.client import AnthemClient

    Command: TypeAlias = Callable[..., None]

UBI_FORMAT: Final = "ubi"
_EXISTING_PATH = click.Path(exists=True, path_type=Path)
_JUDGMENT_OPTIONS = (
    click.option(
        "--judgments",
        "judgments_path",
        type=_EXISTING_PATH,
        help="A BEIR folder; a file of TREC or BEIR qrels, ranx JSON, Quepid CSV, or Search Relevance Workbench "
        "judgments; or a dump of UBI's queries and events.",
    ),
    click.option(
        "--ubi", "from_ubi", is_flag=True, help="Judge by the clicks in ubi_queries and ubi_events of the cluster."
    ),
    click.option(
        "--queries",
        "queries_path",
        type=_EXISTING_PATH,
        help="Query texts, for judgments that have only ids: queries.jsonl[.gz], or lines of the form id<tab>text.",
    ),
    click.option(
        "--format", "file_format", type=click.Choice((*JUDGMENT_FORMATS, UBI_FORMAT)), help="Form of the judgments."
    ),
    click.option("--split", help="Split of a BEIR folder; defaults to test, then to dev."),
    click.option(
        "--action",
        "actions",
        multiple=True,
        default=(DEFAULT_CLICK_ACTION,),
        show_default=True,
        help="Name of the UBI events that count as clicks; repeatable.",
    ),
    click.option("--application", help="Application whose searches in the log count; defaults to all."),
    click.option(
        "--min-impressions",
        type=click.IntRange(1),
        default=MIN_IMPRESSIONS,
        show_default=True,
        help="Searches of the same query that must have shown a product before its clicks are a judgment.",
    ),
)
_SEARCH_OPTIONS = (
    click.option("--field", help="Text field to search; defaults to the first field that was ingested, or title."),
    click.option(
        "--body",
        "body_path",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="The search body of the shop as a JSON file, with {{query}} where the query text goes, instead of "
        "--field.",
    ),
)


@dataclass(frozen=True)
class JudgmentSource:
    """Where judgments come from; the fields are the options that `judgment_options` adds."""

    judgments_path: Path | None
    from_ubi: bool
    queries_path: Path | None
    file_format: JudgmentFormat | Literal["ubi"] | None
    split: str | None
    actions: tuple[str, ...]
    application: str | None
    min_impressions: int

    def read(self, url: str | None) -> JudgedQueries:
        """The judgments; those of `--ubi` from the cluster at a URL.

        Raises:
            UsageError: Both or none of `--judgments` and `--ubi` is given.
            DataError: The judgments cannot be used.
            ClusterError: The cluster has no log, or refuses.
        """
        if self.from_ubi == (self.judgments_path is not None):
            raise click.UsageError("Name judgments with --judgments, or use the clicks of the cluster with --ubi.")
        if self.judgments_path is None:
            return self._judge_cluster(url)
        from anthem_evaluation.ubi.debias import judge_clicks
        from anthem_evaluation.ubi.sources import is_ubi_dump, read_ubi_dump

        if self.file_format == UBI_FORMAT or (self.file_format is None and is_ubi_dump(self.judgments_path)):
            log = read_ubi_dump(self.judgments_path, self.actions, self.application)
            return judge_clicks(log, self.min_impressions)
        return read_judgments(self.judgments_path, self.queries_path, self.file_format, self.split)

    def _judge_cluster(self, url: str | None) -> JudgedQueries:
        from anthem_core.opensearch.connection import cluster_errors, connect
        from anthem_evaluation.ubi.debias import judge_clicks
        from anthem_evaluation.ubi.sources import read_ubi_indices

        with closing(connect(url, credentials=True)) as cluster, cluster_errors():
            log = read_ubi_indices(cluster, self.actions, self.application)
        return judge_clicks(log, self.min_impressions)


def judgment_options(command: Command) -> Command:
    """Add the options that name judgments."""
    return _add_options(command, _JUDGMENT_OPTIONS)


def search_options(command: Command) -> Command:
    """Add the options that say how the index is searched."""
    return _add_options(command, _SEARCH_OPTIONS)


def check_search_options(field: str | None, body_path: Path | None) -> None:
    """Check that at most one of both is given.

    Raises:
        UsageError: Both are.
    """
    if field and body_path:
        raise click.UsageError("--field and --body exclude each other: the body names its own fields.")


def check_files(source: JudgmentSource, bundle_name: str, body_path: Path | None, outputs: Mapping[str, Paths]) -> None:
    """Check that the outputs by option are neither the judgments, the queries, the body and the bundle nor each other.

    Raises:
        UsageError: A file would be overwritten.
    """
    inputs = {
        "--judgments": source.judgments_path,
        "--queries": source.queries_path,
        "--body": body_path,
        "--bundle": bundle_files(bundle_name),
    }
    check_output_files(outputs, inputs)


def read_body_template(path: Path) -> dict[str, Any]:
    """The body of a search, which has to have a place for the text of the query.

    Raises:
        DataError: It is no JSON object, or no string in it contains `{{query}}`.
    """
    from anthem_plugin.rewriter.placeholder import QUERY_PLACEHOLDER, fill_text
    from anthem_plugin.search_input import read_body

    body = read_body(str(path))
    if fill_text(body, "") == body:
        raise DataError(f'{path} has no "{QUERY_PLACEHOLDER}". Write it in the body where the text of the query goes.')
    return body


def find_field(
    client: AnthemClient, cluster: OpenSearch, index: str, field: str | None, body: Mapping[str, Any] | None
) -> str:
    """The text field to search: the one that is named, or the first that was ingested, or `title`.

    A field that is not searched word by word is noted on standard error.

    Raises:
        ClusterError: The field is searched, because there is no body, and the index does not have it.
    """
    from anthem_core.opensearch.schema import DEFAULT_TEXT_FIELDS
    from anthem_plugin.search_remarks import check_shown_field

    searched = field or next(iter(client.profile(index).text_fields), DEFAULT_TEXT_FIELDS[0])
    note = check_shown_field(cluster, index, searched, ()) if body is None else None
    if note:
        stderr.print(note)
    return searched


def _add_options(command: Command, options: tuple[Callable[[Command], Command], ...]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command
