"""Checks of a trial search: the response of each mode compared with the plain response."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anthem_core.console import printable
from anthem_doctor.facts import UnavailableFact
from anthem_doctor.findings import DoctorTarget, Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from anthem_doctor.facts import Fact, TrialSearch


def check_searches(target: DoctorTarget, trial: TrialSearch | None) -> list[Finding]:
    """Findings about the plain search and about each mode; `trial` is None if no product had words to search for."""
    if trial is None:
        return [Finding("search", "warning", "found no product with words to search for", "products with words")]
    if isinstance(trial.plain, UnavailableFact):
        found = f"the plain search for '{printable(trial.query)}' fails: {trial.plain.reason}"
        return [Finding("search", "fault", found, "a search that works without ANTHEM")]
    findings = [finding for mode, fact in trial.responses.items() for finding in _check_mode(target, trial, mode, fact)]
    return findings + [Finding(f"search {mode}", "ok", f"not tried: {why}") for mode, why in trial.skipped.items()]


def _check_mode(target: DoctorTarget, trial: TrialSearch, mode: str, response: Fact) -> Iterator[Finding]:
    check, query = f"search {mode}", f"'{printable(trial.query)}'"
    if isinstance(response, UnavailableFact):
        other_mode = "client" if mode != "client" else "cluster"
        command = target.command("search", trial.query, "--rerank", other_mode)
        yield Finding(check, "warning", f"{query} was not reranked: {response.reason}", "reranked hits", command)
        return
    lost = find_lost_hits(mode, trial.plain, response)
    if lost:
        command = target.command("search", trial.query, "--rerank", mode)
        yield Finding(check, "fault", f"{query}: {lost}", "nothing lost by reranking", command)
        return
    before, after = _hit_ids(trial.plain), _hit_ids(response)
    moved = sum(earlier != later for earlier, later in zip(before, after, strict=False))
    hits = f"{len(after)} hits of {response['hits']['total']['value']}, {moved} moved"
    took = f"{response.get('took')} ms in the cluster, {trial.plain.get('took')} ms without reranking"
    yield Finding(check, "ok", f"{query}: {hits}; {took}")


def find_lost_hits(mode: str, plain: Mapping[str, Any], reranked: Mapping[str, Any]) -> str | None:
    """What a mode lost of the plain search's hits that it should have kept, or None.

    `filter` may match fewer products and `retrieve` more; the other modes must match the same. If more products match
    than the page holds, several shards rerank more than one page, so the page may differ.
    """
    status = reranked.get("anthem", {"reranked": True})
    if not status["reranked"] and len(_hit_ids(plain)) > 1:  # a single hit cannot be reranked
        return f"not reranked: {status['reason']}"
    failed = reranked["_shards"]["failed"] - plain["_shards"]["failed"]
    if failed > 0:
        return f"{failed} more shards fail than without reranking"
    matches, plain_matches = (response["hits"]["total"]["value"] for response in (reranked, plain))
    if (mode != "filter" and matches < plain_matches) or (mode != "retrieve" and matches > plain_matches):
        return f"{matches} products match, {plain_matches} without reranking"
    before, after = set(_hit_ids(plain)), set(_hit_ids(reranked))
    page_may_differ = plain["_shards"]["total"] > 1 and plain_matches > len(before)
    if mode in {"cluster", "client"} and not page_may_differ and before != after:
        return f"{len(before - after)} of {len(before)} hits are lost"
    return None


def _hit_ids(response: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(hit["_index"], hit["_id"]) for hit in response["hits"]["hits"]]
