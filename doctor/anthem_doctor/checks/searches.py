"""Checks of a trial search: the response of each mode compared with the plain response."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from anthem_core.console import count_of, printable
from anthem_doctor.facts import UnavailableFact
from anthem_doctor.findings import DoctorTarget, Finding, console_request

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from anthem_doctor.facts import Fact, TrialSearch, ValueFacts
    from anthem_ingest.mapping import IndexDescription

_MISSING_PIPELINE = re.compile(r"Pipeline (.+) is not defined")


def check_searches(
    target: DoctorTarget,
    trial: TrialSearch | None,
    values: Sequence[ValueFacts] = (),
    indices: Sequence[IndexDescription] = (),
) -> list[Finding]:
    """Findings about the plain search and about each mode; `trial` is None if no sampled product has words."""
    if trial is None:
        return [_explain_missing_trial(target, values, indices)]
    if isinstance(trial.plain, UnavailableFact):
        found = f"the plain search for '{printable(trial.query)}' fails: {trial.plain.reason}"
        return [_explain_failed_search(found, trial.plain, indices)]
    if not trial.plain["hits"]["total"]["value"]:
        field = printable(target.text_fields[0])
        found = f"no product matches '{printable(trial.query)}', which is the text of a product in {field}"
        expected = f"at least that product: map {field} as text that searches find, or name another field with --field"
        return [Finding("search", "warning", found, expected)]
    findings = [finding for mode, fact in trial.responses.items() for finding in _check_mode(target, trial, mode, fact)]
    return findings + [Finding(f"search {mode}", "ok", f"not tried: {why}") for mode, why in trial.skipped.items()]


def _explain_failed_search(found: str, failed: UnavailableFact, indices: Sequence[IndexDescription]) -> Finding:
    """A search that fails without ANTHEM, with what mends a default pipeline that does not exist."""
    missing, expected = _MISSING_PIPELINE.search(failed.reason), "a search that works without ANTHEM"
    if failed.cause == "permission":
        return Finding("search", "fault", found, failed.expected)
    users = [index.name for index in indices if missing and _default_pipeline(index) == missing[1]]
    if not missing or not users:
        return Finding("search", "fault", found, expected)
    expected += f": create the search pipeline {missing[1]}, or let {' and '.join(users)} search without it"
    body = {"index.search.default_pipeline": None}
    commands = [console_request("PUT", f"{name}/_settings", body) for name in users]
    return Finding("search", "fault", found, expected, "\n".join(commands))


def _default_pipeline(index: IndexDescription) -> object:
    return index.settings.get("search", {}).get("default_pipeline")


def _explain_missing_trial(
    target: DoctorTarget, values: Sequence[ValueFacts], indices: Sequence[IndexDescription]
) -> Finding:
    """Why no product could be searched for: unreadable samples, values of other models, or no words."""
    facts = [fact for index in values for fact in (index.sample, index.sample_without_values, index.counts)]
    unavailable = [fact for fact in facts if isinstance(fact, UnavailableFact)]
    if refused := next((fact for fact in unavailable if fact.cause == "refusal"), None):
        return _explain_failed_search(f"{refused.request} fails: {refused.reason}", refused, indices)
    if unavailable:
        return Finding("search", "warning", f"not tried: {unavailable[0].reason}", unavailable[0].expected)
    if values and all(index.counts.products == 0 for index in values):
        return Finding("search", "ok", "not tried: there are no products yet")
    of_others = sum(index.counts.with_values - index.counts.of_model for index in values)
    if of_others:
        found = f"not tried: the values of {count_of(of_others, 'product')} are of another model"
        return Finding("search", "warning", found, f"products with values of {target.bundle.model_id}")
    found = f"not tried: no sampled product has letters or digits in '{printable(target.text_fields[0])}'"
    return Finding("search", "warning", found, "products with words")


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
    hits = f"{count_of(len(after), 'hit')} of {response['hits']['total']['value']}, {moved} moved"
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
        return f"{count_of(matches)} found, {plain_matches} without reranking"
    before, after = set(_hit_ids(plain)), set(_hit_ids(reranked))
    page_may_differ = plain["_shards"]["total"] > 1 and plain_matches > len(before)
    if mode in {"cluster", "client"} and not page_may_differ and before != after:
        return f"{len(before - after)} of {count_of(len(before), 'hit')} lost"
    return None


def _hit_ids(response: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(hit["_index"], hit["_id"]) for hit in response["hits"]["hits"]]
