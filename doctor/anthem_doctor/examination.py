"""The course of an examination: what is read, in which order, and what is made of it; the Python side of `doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from operator import add
from typing import TYPE_CHECKING

from anthem_doctor.checks.cluster import check_cluster
from anthem_doctor.checks.index import check_index, is_closed
from anthem_doctor.checks.searches import check_searches
from anthem_doctor.checks.vectors import VectorCounts, check_vectors
from anthem_doctor.findings import DoctorTarget, Finding, UnavailableFact, console_request
from anthem_doctor.history import CoverageRun, append_run, check_loss, read_runs
from anthem_doctor.probe import read_cluster, read_index, read_indices, read_vectors, run_trial_searches, vector_fields

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from opensearchpy import OpenSearch

    from anthem_core.encoding.encoder import Encoder
    from anthem_doctor.checks.cluster import ClusterFacts
    from anthem_ingest.mapping import IndexDescription

DEFAULT_SAMPLE_SIZE = 200  # products of each index that are looked at one by one


@dataclass(frozen=True)
class Examination:
    """An examination of an index; it writes nothing to the cluster, and one line to the file of the history."""

    client: OpenSearch
    asked: DoctorTarget
    encoder: Encoder
    history: Path
    sample: int = DEFAULT_SAMPLE_SIZE

    def findings(self) -> list[Finding]:
        """Everything that is found."""
        cluster = read_cluster(self.client)
        if isinstance(cluster.info, UnavailableFact):
            wanted, mends = "a cluster that answers: OPENSEARCH_URL or --url names it", "anthem node start"
            return [Finding("cluster", "fault", cluster.info.reason, wanted, mends)]
        return [*check_cluster(self.asked, cluster), *self._of_indices(cluster)]

    def _of_indices(self, cluster: ClusterFacts) -> list[Finding]:
        asked, indices = self.asked, read_indices(self.client, self.asked.index)
        if isinstance(indices, UnavailableFact):
            wanted = f"a name of an index, and a sign-in that may send {indices.request}"
            return [Finding("index", "fault", indices.reason, wanted)]
        if not indices:
            load = asked.command("ingest", "--corpus", "FILE")
            mends, wanted = (
                f"{console_request('GET', '_cat/indices?v')}\n{load}",
                "an index, an alias, or a pattern of some",
            )
            return [Finding("index", "fault", f"there is no index '{asked.index}'", wanted, mends)]
        return [*describe_resolved_name(asked, indices), *self._of_each(cluster, indices)]

    def _of_each(self, cluster: ClusterFacts, indices: Mapping[str, IndexDescription]) -> list[Finding]:
        asked, names = self.asked, vector_fields(indices, self.asked.bundle.model)
        examined = [read_index(self.client, index) for index in indices.values()]
        searched = {name: index for name, index in indices.items() if not is_closed(index)}
        vectors = [read_vectors(self.client, asked, name, names, self.sample) for name in searched]
        findings = [found for one in examined for found in check_index(asked, one, names)]
        findings += [found for one in vectors for found in check_vectors(asked, one, names, self.encoder)]
        counts = [one.counts for one in vectors if isinstance(one.counts, VectorCounts)]
        if counts:
            findings += self._remembered(cluster, reduce(add, counts))
        if searched:
            graphs = all(index.knn for index in searched.values())
            trial = run_trial_searches(self.client, asked, names, self.encoder, vectors, graphs=graphs)
            findings += check_searches(asked, trial)
        return findings

    def _remembered(self, cluster: ClusterFacts, counts: VectorCounts) -> list[Finding]:
        """The loss a day, after this run has been added to the history."""
        key = {"cluster": str(cluster.info.get("cluster_uuid")), "index": self.asked.index}
        key["model"] = self.asked.bundle.model
        run = CoverageRun(datetime.now(UTC), counts.products, counts.own)
        try:
            runs = [*read_runs(self.history, key), run]
            append_run(self.history, key, run)
        except OSError as error:
            wanted = "a file that remembers the coverage from run to run"
            mends = self.asked.command("doctor", "--history", "FILE")
            return [Finding("loss", "warning", f"{self.history}: {error.strerror or error}", wanted, mends)]
        return list(check_loss(self.asked, runs, self.history))


def describe_resolved_name(asked: DoctorTarget, indices: Mapping[str, IndexDescription]) -> list[Finding]:
    """What the name stands for, where that is not the one index of this name."""
    if list(indices) == [asked.index]:
        return []
    note = "; ingest takes one at a time" if len(indices) > 1 else ""
    return [Finding("index", "ok", f"'{asked.index}' stands for {', '.join(indices)}{note}")]
