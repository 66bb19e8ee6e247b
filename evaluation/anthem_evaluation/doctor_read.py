"""The one place where `anthem doctor` talks to a cluster; it reads and searches, and writes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opensearchpy.exceptions import NotFoundError

from anthem_core.cluster import explained, info
from anthem_core.errors import ClusterError
from anthem_core.fields import Fields, holding
from anthem_core.text import text_of
from anthem_evaluation.doctor import Refused
from anthem_evaluation.doctor_cluster import Cluster
from anthem_evaluation.doctor_index import Examined, closed
from anthem_evaluation.doctor_trial import Trial, unaffordable
from anthem_evaluation.doctor_vectors import Counts, Vectors
from anthem_ingest.mapping import Index, objects
from anthem_plugin.client import AnthemClient
from anthem_plugin.modes import Filter, Retrieve
from anthem_plugin.painless import script_id
from anthem_plugin.rewrite import WINDOW
from anthem_plugin.scripted import scripted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from opensearchpy import OpenSearch

    from anthem_core.encoder import Encoder
    from anthem_evaluation.doctor import Asked, Fact
    from anthem_ingest.actions import Hit
    from anthem_plugin.scoring import Scoring

# Every mode asks the same copies of the shards: another copy may break ties another way.
_PREFERENCE = "anthem"
_MOST_WORDS = 12  # of a title that is searched for
_WHOLE = {"track_total_hits": True, "_source": False}


def ask(request: str, call: Callable[[], Any]) -> Fact:
    """What the cluster answers, or what it says instead."""
    try:
        with explained():
            return call()
    except ClusterError as error:
        return Refused(request, str(error))


def read_cluster(client: OpenSearch) -> Cluster:
    """What a cluster tells of itself."""
    said = ask("GET /", lambda: info(client))
    if isinstance(said, Refused):
        return Cluster(*[said] * 6)
    return Cluster(
        said,
        read_plugins(client),
        read_settings(client),
        ask("GET _nodes/stats/script", lambda: client.nodes.stats(metric="script")["nodes"]),
        ask("GET _scripts", lambda: _script(client)),
        ask("GET _cat/allocation", lambda: client.cat.allocation(params={"format": "json", "bytes": "b"})),
    )


def read_plugins(client: OpenSearch) -> Fact:
    """The nodes of a cluster with their plugins, by their ids."""
    return ask("GET _nodes/plugins", lambda: client.nodes.info(metric="plugins")["nodes"])


def read_settings(client: OpenSearch) -> Fact:
    """All settings of a cluster, flat: what was set while it runs before what its files say before defaults."""

    def settings() -> dict[str, Any]:
        found = client.cluster.get_settings(params={"include_defaults": "true", "flat_settings": "true"})
        return {**found.get("defaults", {}), **found.get("persistent", {}), **found.get("transient", {})}

    return ask("GET _cluster/settings", settings)


def _script(client: OpenSearch) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = client.get_script(id=script_id())["script"]
    except NotFoundError:
        return None
    return found


def read_indices(client: OpenSearch, index: str) -> Fact:
    """The indices that a name, an alias or a pattern stands for, by their names; none where there is none."""

    def described() -> dict[str, Index]:
        if not index:
            return {}
        try:
            found = client.indices.get(index=index)
        except NotFoundError:
            return {}
        return {name: Index(name, body["mappings"], body["settings"]["index"]) for name, body in sorted(found.items())}

    return ask(f"GET {index}", described)


def names_in(indices: Mapping[str, Index], model: str) -> Fields:
    """Names under which the indices hold a model's vectors."""
    mapped: dict[str, Any] = {
        name: {"mappings": {Fields(one).vector: {} for one in objects(index.mappings)}}
        for name, index in indices.items()
    }
    return holding(mapped, model)


def read_index(client: OpenSearch, index: Index) -> Examined:
    """What the cluster tells of one index; of a closed one it has no more to tell."""
    name = index.name
    if closed(index):
        return Examined(index, {}, {})
    docs = ask("GET _stats/docs", lambda: client.indices.stats(index=name, metric="docs")["_all"]["primaries"]["docs"])
    return Examined(index, ask("GET _cluster/health", lambda: client.cluster.health(index=name)), docs)


def read_vectors(client: OpenSearch, asked: Asked, name: str, names: Fields, size: int) -> Vectors:
    """Counts of one index, and samples of `size` products with and without a vector."""
    pointed = {"exists": {"field": names.vector}}
    own = {"bool": {"filter": [pointed, {"term": {names.model: asked.bundle.model}}]}}
    bare = {"bool": {"must_not": pointed}}
    counted = {"size": 0, "track_total_hits": True, "aggs": {"any": {"filter": pointed}, "own": {"filter": own}}}

    def counts() -> Counts:
        found = client.search(index=name, body=counted)
        parts = (found["aggregations"][part]["doc_count"] for part in ("any", "own"))
        return Counts(found["hits"]["total"]["value"], *parts)

    def sample(query: dict[str, Any], *more: str) -> list[Hit]:
        random = {"function_score": {"query": query, "random_score": {}}}
        body = {"query": random, "size": size, "_source": [*asked.fields, *more]}
        hits: list[Hit] = client.search(index=name, body=body)["hits"]["hits"]
        return hits

    # Each field by its own name: of the object alone an index with graphs gives 1 in place of the vector.
    search, stored = f"POST {name}/_search", (names.vector, names.model, names.text_hash)
    return Vectors(
        name, ask(search, counts), ask(search, lambda: sample(own, *stored)), ask(search, lambda: sample(bare))
    )


def try_searches(
    client: OpenSearch, asked: Asked, names: Fields, encoder: Encoder, vectors: Iterable[Vectors], *, graphs: bool
) -> Trial | None:
    """Search for the text of a product that was sampled, plainly and in each mode; None where there is no such text."""
    query = _text_of_some(asked, encoder, vectors)
    if query is None:
        return None
    index, body = asked.index, {"query": {"match": {asked.fields[0]: {"query": query}}}, "size": WINDOW, **_WHOLE}
    anthem = AnthemClient(client, encoder, fields=names, text_fields=asked.fields)

    def tried(search: Callable[..., Any], sent: Mapping[str, Any], **options: str) -> Fact:
        return ask(f"POST {index}/_search", lambda: search(index=index, body=sent, preference=_PREFERENCE, **options))

    plain, others = tried(client.search, body), bodies(body, query, encoder, anthem.scoring)
    untried = unaffordable(plain, graphs=graphs)
    modes = {mode: tried(client.search, sent) for mode, sent in others.items() if mode not in untried}
    modes["client"] = tried(anthem.search, body, mode="client", query_text=query)
    return Trial(query, plain, modes, untried)


def _text_of_some(asked: Asked, encoder: Encoder, vectors: Iterable[Vectors]) -> str | None:
    samples = [fact for one in vectors for fact in (one.sample, one.bare) if isinstance(fact, list)]
    words = (text_of(hit["_source"], asked.fields[:1]).split() for sample in samples for hit in sample)
    texts = (" ".join(some[:_MOST_WORDS]) for some in words)
    return next((text for text in texts if encoder.query(text) is not None), None)


def bodies(body: Mapping[str, Any], text: str, encoder: Encoder, scoring: Scoring) -> dict[str, dict[str, Any]]:
    """Bodies of the modes that need the stored script, by mode; no client sends them, as it would store the script."""
    query = encoder.query(text)
    if query is None:
        return {}
    modes = {"cluster": None, "filter": Filter(), "retrieve": Retrieve()}
    return {mode: scripted(body, query, scoring, how, text=text).body for mode, how in modes.items()}
