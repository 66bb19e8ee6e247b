"""`anthem demo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from anthem_core.console import emit, ends_cleanly, err, json_option

if TYPE_CHECKING:
    from anthem_plugin.client import Mode

REPORT = Path("anthem-demo/report.html")


@click.command()
@click.option("--data", type=click.Path(path_type=Path), help="Another BEIR folder, with judgments in qrels/dev.tsv.")
@click.option("--bundle", default="general", show_default=True, help="Folder of a bundle, or one that ships.")
@click.option(
    "--rerank",
    "mode",
    type=click.Choice(("client", "cluster")),
    default="client",
    show_default=True,
    help="Where hits are reranked: the client reads titles too, the cluster vectors alone.",
)
@click.option("--output", default=REPORT, show_default=True, type=click.Path(path_type=Path), help="Report to write.")
@json_option
@ends_cleanly
def demo(data: Path | None, bundle: str, mode: Mode, output: Path, as_json: bool) -> None:
    """Do the whole main job from nothing: node, products, vectors, searches before and after, a report.

    The cluster is ANTHEM_TEST_URL, else a Docker container, else a local node, which stays up afterwards;
    never OPENSEARCH_URL. The demo's index is made anew each time.

    \b
    Example:
        anthem demo
        anthem demo --data shop/
    """
    from anthem_evaluation.assess import check_writable, write
    from anthem_evaluation.demo import run_demo
    from anthem_evaluation.report import as_json as to_json
    from anthem_evaluation.report import text

    check_writable(output)
    done = run_demo(data, bundle, mode)
    write(done.report, output)
    result = {**to_json(done.report), "report": str(output), "url": done.url, "index": done.index}
    emit(result, text(done.report), as_json=as_json)
    err.print(f"Report: {output.resolve().as_uri()}")
    if done.lasting:
        err.print(f"The node stays up. Try: anthem search {done.index} 'your query' --bundle {bundle} --url {done.url}")
        err.print("Stop it: anthem node stop")
