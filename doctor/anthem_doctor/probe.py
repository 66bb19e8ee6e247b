"""Reads facts from a cluster; the only module of `anthem doctor` that sends requests, all of which only read."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal

from opensearchpy.exceptions import AuthenticationException, AuthorizationException, NotFoundError, TransportError

from anthem_core.encoding.attention import AttentionScorer
from anthem_core.errors import ClusterError
from anthem_core.opensearch.blocks import block_advice
from anthem_core.opensearch.connection import cluster_errors, cluster_info, is_refusal
from anthem_core.opensearch.schema import DEFAULT_TEXT_FIELDS, product_text
from anthem_doctor.facts import (
    ClusterFacts,
    IndexFacts,
    TrialSearch,
    UnavailableFact,
    ValueCounts,
    ValueFacts,
    is_closed,
)
from anthem_ingest.actions import has_all_values, has_any_value, value_clauses
from anthem_ingest.mapping import IndexDescription
from anthem_plugin.client import AnthemClient
from anthem_plugin.modes import DEFAULT_WINDOW, FILTER_MATCH_LIMIT, Filter, Retrieve, ScriptMode
from anthem_plugin.options import ClientOptions
from anthem_plugin.rewriter.body import build_script_body
from anthem_plugin.scoring.painless import script_id
from anthem_plugin.scoring.params import ScoringParams
from anthem_plugin.search.request import IndexProfile

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from opensearchpy import OpenSearch

    from anthem_core.encoding.encoder import Encoder
    from anthem_core.opensearch.schema import ModelFields, ModelSignal
    from anthem_doctor.facts import Fact
    from anthem_doctor.findings import DoctorTarget

# Sends every mode to the same copies of the shards, since other copies may break ties differently.
_SEARCH_PREFERENCE = "anthem"
_MAX_QUERY_WORDS = 12  # words of a title that are searched for
_EXACT_TOTALS = {"track_total_hits": True, "_source": False}


@dataclass(frozen=True, slots=True)
class ScriptModes:
    """What the modes that need the stored script depend on: HNSW graphs, the script, and whether it is refused."""

    has_graphs: bool
    has_script: bool = True
    refusal: str | None = None


def ask_cluster(request: str, call: Callable[[], Any]) -> Fact:
    """The result of a call, or the reason why the cluster did not give it."""
    try:
        with cluster_errors():
            return call()
    except ClusterError as error:
        return UnavailableFact(request, str(error), _classify_error(error.__cause__))


def _classify_error(error: BaseException | None) -> Literal["permission", "refusal", "failure"]:
    """Why a request failed; a block is reported with status 403 too, and removed by no permission."""
    is_block = isinstance(error, TransportError) and block_advice(str(error.info)) is not None
    if isinstance(error, AuthenticationException | AuthorizationException) and not is_block:
        return "permission"
    is_overload = isinstance(error, TransportError) and error.status_code == HTTPStatus.TOO_MANY_REQUESTS
    return "refusal" if isinstance(error, TransportError) and is_refusal(error) and not is_overload else "failure"


def read_cluster(client: OpenSearch) -> ClusterFacts:
    """Facts about a cluster; if it does not answer `GET /`, all of them are unavailable."""
    info = ask_cluster("GET /", lambda: cluster_info(client))
    if isinstance(info, UnavailableFact):
        return ClusterFacts(*[info] * len(dataclass_fields(ClusterFacts)))
    allocation = {"format": "json", "bytes": "b"}
    layers = _read_setting_layers(client)
    return ClusterFacts(
        info=info,
        nodes=read_plugins(client),
        settings=_merge_settings(layers),
        changed_settings=layers,
        script_stats=ask_cluster("GET _nodes/stats/script", lambda: client.nodes.stats(metric="script")["nodes"]),
        stored_script=ask_cluster("GET _scripts", lambda: _read_stored_script(client)),
        disks=ask_cluster("GET _cat/allocation", lambda: client.cat.allocation(params=allocation)),
    )


def read_plugins(client: OpenSearch) -> Fact:
    """The nodes of a cluster with their plugins, by node id."""
    return ask_cluster("GET _nodes/plugins", lambda: client.nodes.info(metric="plugins")["nodes"])


def read_settings(client: OpenSearch) -> Fact:
    """All settings of a cluster, flat; transient settings override persistent ones, which override defaults."""
    return _merge_settings(_read_setting_layers(client))


def _read_setting_layers(client: OpenSearch) -> Fact:
    """Settings of a cluster, flat, under `defaults`, `persistent` and `transient`."""
    parameters = {"include_defaults": "true", "flat_settings": "true"}
    return ask_cluster("GET _cluster/settings", lambda: client.cluster.get_settings(params=parameters))


def _merge_settings(layers: Fact) -> Fact:
    if isinstance(layers, UnavailableFact):
        return layers
    return {**layers.get("defaults", {}), **layers.get("persistent", {}), **layers.get("transient", {})}


def _read_stored_script(client: OpenSearch) -> dict[str, Any] | None:
    try:
        script: dict[str, Any] = client.get_script(id=script_id())["script"]
    except NotFoundError:
        return None
    return script


def read_indices(client: OpenSearch, name: str) -> Fact:
    """Indices that a name, an alias or a pattern resolves to, by index name; empty if it matches no index."""

    def call() -> dict[str, IndexDescription]:
        if not name:
            return {}
        try:
            indices = client.indices.get(index=name)
        except NotFoundError:
            return {}
        return {index: IndexDescription.from_response(index, body) for index, body in sorted(indices.items())}

    return ask_cluster(f"GET {name}", call)


def read_simulated_index(client: OpenSearch, name: str) -> Fact:
    """The mapping and settings that an index of this name would get from the index templates; empty without any."""
    request = f"POST _index_template/_simulate_index/{name}"
    return ask_cluster(request, lambda: client.indices.simulate_index_template(name=name))


def read_profile(client: OpenSearch, encoder: Encoder, name: str) -> IndexProfile:
    """How `AnthemClient` would rank an index, alias or pattern; its defaults if the cluster does not answer."""
    profile = ask_cluster(f"GET {name}/_mapping", lambda: AnthemClient(client, encoder).profile(name))
    if isinstance(profile, IndexProfile):
        return profile
    scoring = ScoringParams.from_bundle(encoder.bundle)
    return IndexProfile(scoring, DEFAULT_TEXT_FIELDS)


def read_index(client: OpenSearch, index: IndexDescription) -> IndexFacts:
    """Health and document counts of an index; empty for a closed index, which has none."""
    name = index.name
    if is_closed(index):
        return IndexFacts(index, {}, {})

    def count_documents() -> Any:  # noqa: ANN401 (opensearch-py has no types)
        return client.indices.stats(index=name, metric="docs")["_all"]["primaries"]["docs"]

    health = ask_cluster("GET _cluster/health", lambda: client.cluster.health(index=name))
    return IndexFacts(index, health, ask_cluster("GET _stats/docs", count_documents))


def read_values(
    client: OpenSearch, target: DoctorTarget, index: str, fields: ModelFields, sample_size: int
) -> ValueFacts:
    """Counts of values in one index, and random samples of products with and without values."""
    any_value = has_any_value(fields)
    of_model = {"bool": {"filter": [any_value, {"term": {fields.model: target.bundle.model_id}}]}}
    named = {"bool": {"filter": [of_model], "should": value_clauses(fields)}}

    return ValueFacts(
        index,
        counts=ask_cluster(
            f"POST {index}/_search", lambda: _count_values(client, index, fields, of_model, target.expected_signals)
        ),
        # Every field is named: if only the object is, an index with graphs returns 1 instead of the vector.
        sample=_sample(
            client,
            index,
            named,
            sample_size,
            (*target.text_fields, fields.vector, fields.trigrams, fields.model, fields.text_hash),
        ),
        sample_without_values=_sample(
            client, index, {"bool": {"must_not": any_value}}, sample_size, target.text_fields
        ),
    )


def _count_values(
    client: OpenSearch, index: str, fields: ModelFields, of_model: Mapping[str, Any], signals: Iterable[ModelSignal]
) -> ValueCounts:
    lacks_value = {
        signal: {"bool": {"filter": of_model, "must_not": has_all_values(fields, [signal])}} for signal in signals
    }
    queries: dict[str, Any] = {"any": has_any_value(fields), "own": of_model} | lacks_value
    aggregations = {name: {"filter": query} for name, query in queries.items()}
    response = client.search(index=index, body={"size": 0, "track_total_hits": True, "aggs": aggregations})
    counts = {name: response["aggregations"][name]["doc_count"] for name in aggregations}
    lacking = {signal: counts[signal] for signal in lacks_value}
    return ValueCounts(response["hits"]["total"]["value"], counts["any"], counts["own"], lacking)


def _sample(client: OpenSearch, index: str, query: Mapping[str, Any], size: int, fields: Iterable[str]) -> Fact:
    """Random products that a query finds, with these fields."""
    # Without `replace` the random score is multiplied by that of the query, which is 0 for a filter.
    random_order = {"function_score": {"query": query, "random_score": {}, "boost_mode": "replace"}}
    body = {"query": random_order, "size": size, "_source": list(fields)}
    return ask_cluster(f"POST {index}/_search", lambda: client.search(index=index, body=body)["hits"]["hits"])


def run_trial_search(
    client: OpenSearch,
    target: DoctorTarget,
    encoder: Encoder,
    profile: IndexProfile,
    values: Iterable[ValueFacts],
    script_modes: ScriptModes,
    windows: tuple[int, int] = (DEFAULT_WINDOW, DEFAULT_WINDOW),
) -> TrialSearch | None:
    """Search for the text of a sampled product, plainly and in each mode; None if no sampled product has words.

    `windows` are the numbers of hits that a search may fetch and rescore.
    """
    query = _sample_query(target, encoder, values)
    if query is None:
        return None
    index, match = target.index, {"match": {target.text_fields[0]: {"query": query}}}
    fetched, rescored = windows
    body = {"query": match, "size": fetched, **_EXACT_TOTALS}
    anthem = AnthemClient(client, encoder, ClientOptions(text_fields=target.text_fields))

    def search(send: Callable[..., Any], sent: Mapping[str, Any], **options: Any) -> Fact:  # noqa: ANN401
        options["preference"] = _SEARCH_PREFERENCE
        return ask_cluster(f"POST {index}/_search", lambda: send(index=index, body=sent, **options))

    plain = search(client.search, body)
    skipped = find_skipped_modes(plain, profile.signals, script_modes)
    bodies = build_script_bodies(body, query, encoder, profile, rescored)
    responses = {mode: search(client.search, sent) for mode, sent in bodies.items() if mode not in skipped}
    responses["client"] = search(anthem.search, body, mode="client", query_text=query, window=fetched)
    return TrialSearch(query, plain, responses, skipped)


def find_skipped_modes(plain: Fact, signals: Collection[ModelSignal], script_modes: ScriptModes) -> dict[str, str]:
    """Modes that are not tried, with the reason: `filter` would run its script on too many matching products.

    A reason that lies in the index outlasts a missing script, which the first search stores, so it is given instead.
    """
    if signals and script_modes.refusal:
        return dict.fromkeys(
            ("cluster", "filter", "retrieve"), f"the cluster refuses the script ({script_modes.refusal})"
        )
    modes = ("cluster", "filter", "retrieve")
    if not signals:
        return dict.fromkeys(modes, "the index has no field of this model (anthem ingest)")
    waiting = (
        {}
        if script_modes.has_script
        else dict.fromkeys(modes, "the script is not stored yet; the first search stores it")
    )
    return waiting | _modes_the_index_excludes(plain, signals, has_graphs=script_modes.has_graphs)


def _modes_the_index_excludes(plain: Fact, signals: Collection[ModelSignal], *, has_graphs: bool) -> dict[str, str]:
    if "containment" not in signals:
        return dict.fromkeys(("filter", "retrieve"), "it needs vectors (anthem ingest --signals containment,attention)")
    matches = 0 if isinstance(plain, UnavailableFact) else plain["hits"]["total"]["value"]
    skipped = {} if has_graphs else {"retrieve": "it needs HNSW graphs of the vectors (anthem ingest --ann)"}
    if matches > FILTER_MATCH_LIMIT:
        skipped["filter"] = (
            f"the query matches {matches} products, and filter mode runs a script for each; "
            f"the limit is {FILTER_MATCH_LIMIT}"
        )
    return skipped


def _sample_query(target: DoctorTarget, encoder: Encoder, values: Iterable[ValueFacts]) -> str | None:
    """The first words of a sampled product's text, of the first product that has any."""
    samples = (sample for facts in values for sample in (facts.sample, facts.sample_without_values))
    hits = (hit for sample in samples if isinstance(sample, list) for hit in sample)
    texts = (product_text(hit["_source"], target.text_fields[:1]) for hit in hits)
    queries = (" ".join(text.split()[:_MAX_QUERY_WORDS]) for text in texts)
    return next((query for query in queries if encoder.encode_query(query) is not None), None)


def build_script_bodies(
    body: Mapping[str, Any], text: str, encoder: Encoder, profile: IndexProfile, window: int = DEFAULT_WINDOW
) -> dict[str, dict[str, Any]]:
    """Search bodies of the modes that need the stored script, by mode; none rescores more hits than the window.

    They are sent as they are, because `AnthemClient` would store the script if it is missing.
    """
    region = encoder.encode_query(text) if "containment" in profile.signals else None
    table = AttentionScorer(encoder.bundle).encode_query(text) if "attention" in profile.signals else None
    if region is None and table is None:
        return {}
    tables = [table] if table else []
    modes: dict[str, ScriptMode] = {"cluster": "cluster", "filter": Filter(), "retrieve": Retrieve()}
    bodies = {
        name: build_script_body(body, region, profile.scoring, mode, tables=tables, text=text).body
        for name, mode in modes.items()
        if region or name == "cluster"
    }
    for rescore in (rescore for sent in bodies.values() for rescore in sent.get("rescore", ())):
        if window < DEFAULT_WINDOW:
            rescore["window_size"] = min(rescore["window_size"], window)
    return bodies
