"""One search, tried in each way of reranking and compared with the plain one: pure functions of what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anthem_core.console import printable
from anthem_doctor.findings import DoctorTarget, Fact, Finding, UnavailableFact
from anthem_plugin.modes import FILTER_MATCH_LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True)
class TrialSearch:
    """A query, the plain response, the response of each mode that was tried, and why another was not."""

    query: str
    plain: Fact
    modes: Mapping[str, Fact]
    untried: Mapping[str, str]


def check_searches(asked: DoctorTarget, trial: TrialSearch | None) -> list[Finding]:
    """What came of the searches, mode by mode."""
    if trial is None:
        return [Finding("search", "warning", "no product with words was found to search for", "products with words")]
    if isinstance(trial.plain, UnavailableFact):
        found = f"the plain search for '{printable(trial.query)}' fails: {trial.plain.reason}"
        return [Finding("search", "fault", found, "a search that works without ANTHEM")]
    tried = [one for mode, answer in trial.modes.items() for one in _check_mode(asked, trial, mode, answer)]
    return tried + [Finding(f"search {mode}", "ok", f"not tried: {why}") for mode, why in trial.untried.items()]


def skipped_modes(plain: Fact, *, graphs: bool) -> dict[str, str]:
    """Modes that are not to be tried, and why: the filter runs its script on all that is found."""
    found = 0 if isinstance(plain, UnavailableFact) else plain["hits"]["total"]["value"]
    why = {} if graphs else {"retrieve": "it needs HNSW graphs of the vectors (anthem ingest --ann)"}
    if found > FILTER_MATCH_LIMIT:
        why["filter"] = (
            f"the query finds {found} products, and each costs a run of the script; the limit is {FILTER_MATCH_LIMIT}"
        )
    return why


def _check_mode(asked: DoctorTarget, trial: TrialSearch, mode: str, answer: Fact) -> Iterator[Finding]:
    check, tried = f"search {mode}", f"'{printable(trial.query)}'"
    if isinstance(answer, UnavailableFact):
        other = asked.command("search", trial.query, "--rerank", "client" if mode != "client" else "cluster")
        yield Finding(check, "warning", f"{tried} was not reranked: {answer.reason}", "reranked hits", other)
        return
    why = lost_hits(mode, trial.plain, answer)
    if why:
        shows = asked.command("search", trial.query, "--rerank", mode)
        yield Finding(check, "fault", f"{tried}: {why}", "nothing lost by reranking", shows)
        return
    before, after = (_hit_ids(response) for response in (trial.plain, answer))
    moved = sum(one != other for one, other in zip(before, after, strict=False))
    counted = f"{len(after)} hits of {answer['hits']['total']['value']}, {moved} not where they were"
    took = f"{answer.get('took')} ms in the cluster, {trial.plain.get('took')} ms without"
    yield Finding(check, "ok", f"{tried}: {counted}; {took}")


def lost_hits(mode: str, plain: Mapping[str, Any], ranked: Mapping[str, Any]) -> str | None:
    """What a mode lost of the plain search's hits that it should have kept, or None.

    A filter may find less and `retrieve` more; the others find the same. Where more products match than were asked
    for, several shards rerank more than one page, so the page may differ.
    """
    said = ranked.get("anthem", {"reranked": True})
    if not said["reranked"]:
        return f"not reranked: {said['reason']}"
    failed = ranked["_shards"]["failed"] - plain["_shards"]["failed"]
    if failed > 0:
        return f"{failed} more shards fail than without reranking"
    matching, plainly = (response["hits"]["total"]["value"] for response in (ranked, plain))
    if (mode != "filter" and matching < plainly) or (mode != "retrieve" and matching > plainly):
        return f"{matching} products match, {plainly} without reranking"
    before, after = set(_hit_ids(plain)), set(_hit_ids(ranked))
    paged = plain["_shards"]["total"] > 1 and plainly > len(before)
    if mode in {"cluster", "client"} and not paged and before != after:
        return f"{len(before - after)} of {len(before)} hits are lost"
    return None


def _hit_ids(response: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(hit["_index"], hit["_id"]) for hit in response["hits"]["hits"]]
