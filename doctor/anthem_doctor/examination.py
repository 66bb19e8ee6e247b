"""An examination from start to end: which facts are read, in which order, and which checks judge them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import reduce
from operator import add
from typing import TYPE_CHECKING

from anthem_core.opensearch.schema import find_model_fields, mapped_signals
from anthem_doctor.checks.cluster import check_cluster
from anthem_doctor.checks.coverage import check_coverage_loss
from anthem_doctor.checks.index import check_index
from anthem_doctor.checks.limits import check_limits, largest_windows, result_window
from anthem_doctor.checks.searches import check_searches
from anthem_doctor.checks.template import check_template, next_index_name
from anthem_doctor.checks.values import check_values
from anthem_doctor.facts import DEFAULT_SAMPLE_SIZE, UnavailableFact, ValueCounts, is_closed
from anthem_doctor.findings import DoctorTarget, Finding, console_request, judge_fact
from anthem_doctor.history import CoverageRun, append_run, read_runs
from anthem_doctor.probe import (
    ScriptModes,
    read_cluster,
    read_index,
    read_indices,
    read_profile,
    read_simulated_index,
    read_values,
    run_trial_search,
)
from anthem_ingest.encode import ValueBuilder
from anthem_ingest.mapping import choose_write_index

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from opensearchpy import OpenSearch

    from anthem_core.encoding.encoder import Encoder
    from anthem_core.opensearch.schema import ModelFields
    from anthem_doctor.facts import ClusterFacts, ValueFacts
    from anthem_ingest.mapping import IndexDescription
    from anthem_plugin.search.request import IndexProfile


@dataclass(frozen=True)
class Examination:
    """Examination of an index; it writes nothing to the cluster, and one line to the history file."""

    client: OpenSearch
    target: DoctorTarget
    encoder: Encoder
    profile: IndexProfile
    history: Path
    sample_size: int = DEFAULT_SAMPLE_SIZE

    @property
    def fields(self) -> ModelFields:
        """Where a search of all the indices reads the values of the bundle's model."""
        return self.profile.scoring.fields

    def _fields_of(self, index: IndexDescription) -> ModelFields:
        """Where one index holds the values of the bundle's model; where a search reads them if it holds none."""
        own = find_model_fields([index.mappings], self.target.bundle.model_id)
        return own if mapped_signals(index.mappings, own) else self.fields

    def run(self) -> list[Finding]:
        """All findings."""
        cluster = read_cluster(self.client)
        if isinstance(cluster.info, UnavailableFact):
            expected = "a cluster that answers; name it with OPENSEARCH_URL or --url"
            return [Finding("cluster", "fault", cluster.info.reason, expected)]
        findings = check_cluster(self.target, cluster)
        return [*findings, *self._examine_name(cluster, find_script_refusal(findings))]

    def _examine_name(self, cluster: ClusterFacts, script_refusal: str | None) -> list[Finding]:
        target = self.target
        indices = read_indices(self.client, target.index)
        if isinstance(indices, UnavailableFact):
            expected = f"the name of an index, and {indices.expected}"
            return [Finding("index", "fault", indices.reason, expected)]
        if not indices:
            commands = f"{console_request('GET', '_cat/indices?v')}\n{target.command('ingest', '--corpus', 'FILE')}"
            expected = "the name of an index or an alias, or a pattern that matches one"
            return [Finding("index", "fault", f"index '{target.index}' not found", expected, commands)]
        return [
            *describe_resolved_name(target, indices),
            *self._examine_indices(cluster, indices, script_refusal),
            *(finding for index in indices.values() for finding in self._examine_successor(index)),
        ]

    def _examine_successor(self, index: IndexDescription) -> list[Finding]:
        """Findings about the index that a rollover will create after this one; none if it is not rolled over."""
        name = next_index_name(index)
        if name is None:
            return []
        fields = self._fields_of(index)
        target = self.target.for_ingested(index, fields)
        simulated = read_simulated_index(self.client, name)
        return judge_fact("template", simulated, lambda fact: check_template(target, index, name, fact, fields))

    def _examine_indices(
        self, cluster: ClusterFacts, indices: Mapping[str, IndexDescription], script_refusal: str | None
    ) -> list[Finding]:
        fields = {index.name: self._fields_of(index) for index in indices.values()}
        targets = {index.name: self.target.for_ingested(index, fields[index.name]) for index in indices.values()}
        open_indices = [index for index in indices.values() if not is_closed(index)]
        index_facts = [read_index(self.client, index) for index in indices.values()]
        value_facts = [
            read_values(
                self.client,
                targets[index.name],
                index.name,
                fields[index.name],
                min(self.sample_size, result_window(index)),
            )
            for index in open_indices
        ]
        return [
            *(
                finding
                for facts in index_facts
                for finding in without_vain_ingest(
                    facts.index, check_index(targets[facts.index.name], facts, fields[facts.index.name])
                )
            ),
            *(finding for index in open_indices for finding in check_limits(index)),
            *(
                finding
                for facts in value_facts
                for finding in without_vain_ingest(
                    indices[facts.index_name],
                    self._check_values(targets[facts.index_name], facts, fields[facts.index_name]),
                )
            ),
            *self._examine_coverage_loss(cluster, value_facts),
            *self._examine_searches(cluster, open_indices, value_facts, targets, script_refusal),
        ]

    def _check_values(self, target: DoctorTarget, facts: ValueFacts, fields: ModelFields) -> list[Finding]:
        builder = ValueBuilder(self.encoder, target.expected_signals, target.text_fields, fields)
        return check_values(target, facts, builder)

    def _examine_searches(
        self,
        cluster: ClusterFacts,
        open_indices: list[IndexDescription],
        value_facts: list[ValueFacts],
        targets: Mapping[str, DoctorTarget],
        script_refusal: str | None,
    ) -> list[Finding]:
        """Findings about a trial search of the indices with the same text fields; none if every index is closed."""
        facts = {each.index_name: each for each in value_facts}
        groups: dict[tuple[str, ...], list[IndexDescription]] = {}
        for index in open_indices:
            groups.setdefault(targets[index.name].text_fields, []).append(index)
        findings = []
        for text_fields, indices in groups.items():
            target, profile = replace(self.target, text_fields=text_fields), self.profile
            if len(groups) > 1:  # a search of all of them has no field that finds products of each
                target = replace(target, index=",".join(index.name for index in indices))
                profile = read_profile(self.client, self.encoder, target.index)
            has_script = cluster.stored_script is not None
            modes = ScriptModes(self._have_graphs(indices, profile.scoring.fields), has_script, script_refusal)
            values = [facts[index.name] for index in indices]
            trial = run_trial_search(
                self.client, target, self.encoder, profile, values, modes, largest_windows(indices)
            )
            findings += check_searches(target, trial, values, indices)
        return findings

    def _have_graphs(self, indices: Iterable[IndexDescription], fields: ModelFields) -> bool:
        return all(index.knn and "containment" in mapped_signals(index.mappings, fields) for index in indices)

    def _examine_coverage_loss(self, cluster: ClusterFacts, value_facts: list[ValueFacts]) -> list[Finding]:
        """Findings about the loss per day; none if the values of no index could be counted."""
        counts = [facts.counts for facts in value_facts if isinstance(facts.counts, ValueCounts)]
        return self._record_coverage(cluster, reduce(add, counts)) if counts else []

    def _record_coverage(self, cluster: ClusterFacts, counts: ValueCounts) -> list[Finding]:
        """The loss per day, after this run has been added to the history."""
        target = self.target
        key = {"cluster": str(cluster.info.get("cluster_uuid")), "index": target.index, "model": target.bundle.model_id}
        run = CoverageRun(datetime.now(UTC), counts.products, counts.of_model)
        try:
            runs = [*read_runs(self.history, key), run]
            append_run(self.history, key, run)
        except OSError as error:
            expected = "a writable file for the history of the coverage"
            command = target.command("doctor", "--history", "FILE")
            return [Finding("loss", "warning", f"{self.history}: {error.strerror or error}", expected, command)]
        return list(check_coverage_loss(target, runs, self.history))


def without_vain_ingest(index: IndexDescription, findings: Iterable[Finding]) -> list[Finding]:
    """The same findings, without the command to ingest an index that ingest refuses to write to."""
    if index.keeps_whole_source and not index.derives_source:
        return list(findings)
    command = f"anthem ingest {index.name} "
    reason = "ingest cannot add them to this index; see the check `source`"
    return [
        replace(finding, command="", expected=f"{finding.expected}; {reason}")
        if finding.command.startswith(command)
        else finding
        for finding in findings
    ]


def find_script_refusal(findings: Iterable[Finding]) -> str | None:
    """Why the cluster does not run the script, or None if nothing speaks against it."""
    checks = ("scripts", "compilations")
    return next((finding.found for finding in findings if finding.check in checks and finding.level == "fault"), None)


def describe_resolved_name(target: DoctorTarget, indices: Mapping[str, IndexDescription]) -> list[Finding]:
    """The indices that an alias or a pattern resolves to; nothing if the name is the index itself."""
    if list(indices) == [target.index]:
        return []
    aliases = {name: {"aliases": index.aliases} for name, index in indices.items()}
    writer = choose_write_index(aliases, target.index)
    note = "; ingest takes one at a time" if len(indices) > 1 else ""
    if writer in indices and len(indices) > 1:
        note = f"; writes and ingest go to {writer}, the write index"
    return [Finding("index", "ok", f"'{target.index}' resolves to {', '.join(indices)}{note}")]
