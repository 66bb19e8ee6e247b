"""The course of an examination: what is read, in which order, and what is made of it; the Python side of `doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from operator import add
from typing import TYPE_CHECKING

from anthem_evaluation.doctor import Asked, Finding, Refused, send
from anthem_evaluation.doctor_cluster import cluster_findings
from anthem_evaluation.doctor_history import Run, add_run, loss, read_runs
from anthem_evaluation.doctor_index import closed, index_findings
from anthem_evaluation.doctor_read import (
    names_in,
    read_cluster,
    read_index,
    read_indices,
    read_vectors,
    try_searches,
)
from anthem_evaluation.doctor_trial import trial_findings
from anthem_evaluation.doctor_vectors import Counts, vector_findings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from opensearchpy import OpenSearch

    from anthem_core.encoder import Encoder
    from anthem_evaluation.doctor_cluster import Cluster
    from anthem_ingest.mapping import Index

SAMPLE = 200  # products of each index that are looked at one by one


@dataclass(frozen=True)
class Doctor:
    """An examination of an index; it writes nothing to the cluster, and one line to the file of the history."""

    client: OpenSearch
    asked: Asked
    encoder: Encoder
    history: Path
    sample: int = SAMPLE

    def findings(self) -> list[Finding]:
        """Everything that is found."""
        cluster = read_cluster(self.client)
        if isinstance(cluster.info, Refused):
            wanted, mends = "a cluster that answers: OPENSEARCH_URL or --url names it", "anthem node start"
            return [Finding("cluster", "fault", cluster.info.reason, wanted, mends)]
        return [*cluster_findings(self.asked, cluster), *self._of_indices(cluster)]

    def _of_indices(self, cluster: Cluster) -> list[Finding]:
        asked, indices = self.asked, read_indices(self.client, self.asked.index)
        if isinstance(indices, Refused):
            wanted = f"a name of an index, and a sign-in that may send {indices.request}"
            return [Finding("index", "fault", indices.reason, wanted)]
        if not indices:
            load = asked.command("ingest", "--corpus", "FILE")
            mends, wanted = f"{send('GET', '_cat/indices?v')}\n{load}", "an index, an alias, or a pattern of some"
            return [Finding("index", "fault", f"there is no index '{asked.index}'", wanted, mends)]
        return [*resolved(asked, indices), *self._of_each(cluster, indices)]

    def _of_each(self, cluster: Cluster, indices: Mapping[str, Index]) -> list[Finding]:
        asked, names = self.asked, names_in(indices, self.asked.bundle.model)
        examined = [read_index(self.client, index) for index in indices.values()]
        searched = {name: index for name, index in indices.items() if not closed(index)}
        vectors = [read_vectors(self.client, asked, name, names, self.sample) for name in searched]
        findings = [found for one in examined for found in index_findings(asked, one, names)]
        findings += [found for one in vectors for found in vector_findings(asked, one, names, self.encoder)]
        counts = [one.counts for one in vectors if isinstance(one.counts, Counts)]
        if counts:
            findings += self._remembered(cluster, reduce(add, counts))
        if searched:
            graphs = all(index.knn for index in searched.values())
            trial = try_searches(self.client, asked, names, self.encoder, vectors, graphs=graphs)
            findings += trial_findings(asked, trial)
        return findings

    def _remembered(self, cluster: Cluster, counts: Counts) -> list[Finding]:
        """The loss a day, after this run has been added to the history."""
        key = {"cluster": str(cluster.info.get("cluster_uuid")), "index": self.asked.index}
        key["model"] = self.asked.bundle.model
        run = Run(datetime.now(UTC), counts.products, counts.own)
        try:
            runs = [*read_runs(self.history, key), run]
            add_run(self.history, key, run)
        except OSError as error:
            wanted = "a file that remembers the coverage from run to run"
            mends = self.asked.command("doctor", "--history", "FILE")
            return [Finding("loss", "warning", f"{self.history}: {error.strerror or error}", wanted, mends)]
        return list(loss(self.asked, runs, self.history))


def resolved(asked: Asked, indices: Mapping[str, Index]) -> list[Finding]:
    """What the name stands for, where that is not the one index of this name."""
    if list(indices) == [asked.index]:
        return []
    note = "; ingest takes one at a time" if len(indices) > 1 else ""
    return [Finding("index", "ok", f"'{asked.index}' stands for {', '.join(indices)}{note}")]
