"""The one place where `anthem doctor` talks to a cluster; it reads and searches, and writes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opensearchpy.exceptions import NotFoundError

from anthem_core.errors import ClusterError
from anthem_core.opensearch.connection import cluster_errors, cluster_info
from anthem_core.opensearch.schema import VectorFields, find_vector_fields, product_text
from anthem_doctor.checks.cluster import ClusterFacts
from anthem_doctor.checks.index import IndexFacts, is_closed
from anthem_doctor.checks.searches import TrialSearch, skipped_modes
from anthem_doctor.checks.vectors import VectorCounts, VectorFacts
from anthem_doctor.findings import UnavailableFact
from anthem_ingest.mapping import IndexDescription, vector_objects
from anthem_plugin.client import AnthemClient
from anthem_plugin.modes import DEFAULT_WINDOW, Filter, Retrieve
from anthem_plugin.rewriter.body import build_script_body
from anthem_plugin.scoring.painless import script_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from opensearchpy import OpenSearch

    from anthem_core.encoding.encoder import Encoder
    from anthem_doctor.findings import DoctorTarget, Fact
    from anthem_ingest.actions import IndexHit
    from anthem_plugin.scoring.params import ScoringParams

# Every mode asks the same copies of the shards: another copy may break ties another way.
_SEARCH_PREFERENCE = "anthem"
_MAX_QUERY_WORDS = 12  # of a title that is searched for
_EXACT_TOTALS = {"track_total_hits": True, "_source": False}


def ask_cluster(request: str, call: Callable[[], Any]) -> Fact:
    """What the cluster answers, or what it says instead."""
    try:
        with cluster_errors():
            return call()
    except ClusterError as error:
        return UnavailableFact(request, str(error))


def read_cluster(client: OpenSearch) -> ClusterFacts:
    """What a cluster tells of itself."""
    said = ask_cluster("GET /", lambda: cluster_info(client))
    if isinstance(said, UnavailableFact):
        return ClusterFacts(*[said] * 6)
    return ClusterFacts(
        said,
        read_plugins(client),
        read_settings(client),
        ask_cluster("GET _nodes/stats/script", lambda: client.nodes.stats(metric="script")["nodes"]),
        ask_cluster("GET _scripts", lambda: _read_stored_script(client)),
        ask_cluster("GET _cat/allocation", lambda: client.cat.allocation(params={"format": "json", "bytes": "b"})),
    )


def read_plugins(client: OpenSearch) -> Fact:
    """The nodes of a cluster with their plugins, by their ids."""
    return ask_cluster("GET _nodes/plugins", lambda: client.nodes.info(metric="plugins")["nodes"])


def read_settings(client: OpenSearch) -> Fact:
    """All settings of a cluster, flat: what was set while it runs before what its files say before defaults."""

    def settings() -> dict[str, Any]:
        found = client.cluster.get_settings(params={"include_defaults": "true", "flat_settings": "true"})
        return {**found.get("defaults", {}), **found.get("persistent", {}), **found.get("transient", {})}

    return ask_cluster("GET _cluster/settings", settings)


def _read_stored_script(client: OpenSearch) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = client.get_script(id=script_id())["script"]
    except NotFoundError:
        return None
    return found


def read_indices(client: OpenSearch, index: str) -> Fact:
    """The indices that a name, an alias or a pattern stands for, by their names; none where there is none."""

    def described() -> dict[str, IndexDescription]:
        if not index:
            return {}
        try:
            found = client.indices.get(index=index)
        except NotFoundError:
            return {}
        return {
            name: IndexDescription(name, body["mappings"], body["settings"]["index"])
            for name, body in sorted(found.items())
        }

    return ask_cluster(f"GET {index}", described)


def vector_fields(indices: Mapping[str, IndexDescription], model: str) -> VectorFields:
    """Names under which the indices hold a model's vectors."""
    mapped: dict[str, Any] = {
        name: {"mappings": {VectorFields(one).vector: {} for one in vector_objects(index.mappings)}}
        for name, index in indices.items()
    }
    return find_vector_fields(mapped, model)


def read_index(client: OpenSearch, index: IndexDescription) -> IndexFacts:
    """What the cluster tells of one index; of a closed one it has no more to tell."""
    name = index.name
    if is_closed(index):
        return IndexFacts(index, {}, {})
    docs = ask_cluster(
        "GET _stats/docs", lambda: client.indices.stats(index=name, metric="docs")["_all"]["primaries"]["docs"]
    )
    return IndexFacts(index, ask_cluster("GET _cluster/health", lambda: client.cluster.health(index=name)), docs)


def read_vectors(client: OpenSearch, asked: DoctorTarget, name: str, names: VectorFields, size: int) -> VectorFacts:
    """Counts of one index, and samples of `size` products with and without a vector."""
    pointed = {"exists": {"field": names.vector}}
    own = {"bool": {"filter": [pointed, {"term": {names.model: asked.bundle.model}}]}}
    bare = {"bool": {"must_not": pointed}}
    counted = {"size": 0, "track_total_hits": True, "aggs": {"any": {"filter": pointed}, "own": {"filter": own}}}

    def counts() -> VectorCounts:
        found = client.search(index=name, body=counted)
        parts = (found["aggregations"][part]["doc_count"] for part in ("any", "own"))
        return VectorCounts(found["hits"]["total"]["value"], *parts)

    def sample(query: dict[str, Any], *more: str) -> list[IndexHit]:
        random = {"function_score": {"query": query, "random_score": {}}}
        body = {"query": random, "size": size, "_source": [*asked.fields, *more]}
        hits: list[IndexHit] = client.search(index=name, body=body)["hits"]["hits"]
        return hits

    # Each field by its own name: of the object alone an index with graphs gives 1 in place of the vector.
    search, stored = f"POST {name}/_search", (names.vector, names.model, names.text_hash)
    return VectorFacts(
        name,
        ask_cluster(search, counts),
        ask_cluster(search, lambda: sample(own, *stored)),
        ask_cluster(search, lambda: sample(bare)),
    )


def run_trial_searches(
    client: OpenSearch,
    asked: DoctorTarget,
    names: VectorFields,
    encoder: Encoder,
    vectors: Iterable[VectorFacts],
    *,
    graphs: bool,
) -> TrialSearch | None:
    """Search for the text of a product that was sampled, plainly and in each mode; None where there is no such text."""
    query = _sample_query(asked, encoder, vectors)
    if query is None:
        return None
    index, body = (
        asked.index,
        {"query": {"match": {asked.fields[0]: {"query": query}}}, "size": DEFAULT_WINDOW, **_EXACT_TOTALS},
    )
    anthem = AnthemClient(client, encoder, fields=names, text_fields=asked.fields)

    def tried(search: Callable[..., Any], sent: Mapping[str, Any], **options: str) -> Fact:
        return ask_cluster(
            f"POST {index}/_search", lambda: search(index=index, body=sent, preference=_SEARCH_PREFERENCE, **options)
        )

    plain, others = tried(client.search, body), script_mode_bodies(body, query, encoder, anthem.scoring)
    untried = skipped_modes(plain, graphs=graphs)
    modes = {mode: tried(client.search, sent) for mode, sent in others.items() if mode not in untried}
    modes["client"] = tried(anthem.search, body, mode="client", query_text=query)
    return TrialSearch(query, plain, modes, untried)


def _sample_query(asked: DoctorTarget, encoder: Encoder, vectors: Iterable[VectorFacts]) -> str | None:
    samples = [fact for one in vectors for fact in (one.sample, one.bare) if isinstance(fact, list)]
    words = (product_text(hit["_source"], asked.fields[:1]).split() for sample in samples for hit in sample)
    texts = (" ".join(some[:_MAX_QUERY_WORDS]) for some in words)
    return next((text for text in texts if encoder.query(text) is not None), None)


def script_mode_bodies(
    body: Mapping[str, Any], text: str, encoder: Encoder, scoring: ScoringParams
) -> dict[str, dict[str, Any]]:
    """Bodies of the modes that need the stored script, by mode; no client sends them, as it would store the script."""
    query = encoder.query(text)
    if query is None:
        return {}
    modes = {"cluster": None, "filter": Filter(), "retrieve": Retrieve()}
    return {mode: build_script_body(body, query, scoring, how, text=text).body for mode, how in modes.items()}
