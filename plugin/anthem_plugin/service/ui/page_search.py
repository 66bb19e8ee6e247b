"""The searches of the page: it only reads, and only the index that `--index` names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opensearchpy.exceptions import AuthorizationException, OpenSearchException, TransportError

from anthem_core.encoding.query_operators import encode_phrases
from anthem_core.errors import ClusterError
from anthem_core.fusion import MAX_SHIFT
from anthem_core.opensearch.connection import cluster_errors, is_refusal
from anthem_core.opensearch.schema import DEFAULT_TEXT_FIELDS, MATCH_ALL, product_text
from anthem_plugin.client import AnthemClient
from anthem_plugin.modes import default_window
from anthem_plugin.options import ClientOptions
from anthem_plugin.scoring.window import score_attention
from anthem_plugin.search.disk_map import map_titles
from anthem_plugin.search.explain import fused_signals, is_attention_from_texts, stored_attention
from anthem_plugin.search.missing_values import missing_values_reason
from anthem_plugin.search.page_limit import search_within_limit
from anthem_plugin.search.response import hit_distances
from anthem_plugin.search.spelling import spelled_words
from anthem_plugin.search.title_explanation import TitleExplainer
from anthem_plugin.search_remarks import check_shown_field
from anthem_plugin.service.ui.page_result import (
    describe_fusion,
    page_order,
    page_products,
    products_to_json,
    suggest_query,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opensearchpy import OpenSearch

    from anthem_core.geometry.lorentz import Array
    from anthem_plugin.scoring.params import Signals
    from anthem_plugin.search.request import IndexProfile, Response
    from anthem_plugin.search.response import Hit
    from anthem_plugin.service.context import ServiceContext

MIN_PAGE_PRODUCTS = 200  # in each list if there are so many hits; also the largest window that the page can try
PAGE_TIMEOUT_SECONDS = 10.0  # the page says that the cluster does not answer before the service gives up
MAX_MAP_WORDS = 3  # of a query, that are on the map as queries of their own
_SUGGESTION_TITLES = 20
_CHECK_SECONDS = 3  # at the start, which waits for it
# Both searches use the same shard copies, because another copy may break ties differently.
_PREFERENCE = "anthem-page"


@dataclass(frozen=True, slots=True)
class PageTarget:
    """What the page searches, and under which names it answers.

    Attributes:
        cluster: The cluster of the index.
        index: Index, alias or pattern.
        field: Field that is searched and shown; defaults to the first that was ingested.
        names: Host names that reach the page, beside localhost and IP addresses; None for any name, which is safe only
            if the service asks for a key or speaks HTTPS.
    """

    cluster: OpenSearch
    index: str
    field: str | None = None
    names: tuple[str, ...] | None = ()


def find_refusal(cluster: OpenSearch, index: str) -> str | None:
    """Why the cluster refuses to search an index, such as a closed one; None if it searches, or does not answer."""
    try:
        with cluster_errors():
            cluster.search(index=index, body={"size": 0}, params={"request_timeout": _CHECK_SECONDS})
    except ClusterError as error:
        cause = error.__cause__
        return str(error) if isinstance(cause, TransportError) and is_refusal(cause) else None
    return None


class SearchPage:
    """The searches and maps of the page.

    The page reranks in `client` mode: on one shard its order is that of `cluster` mode, and its window is the first
    products of the lexical list however many shards there are.
    """

    def __init__(self, target: PageTarget, context: ServiceContext) -> None:
        self._client = AnthemClient(target.cluster, context.encoder, ClientOptions())
        self._explainer = TitleExplainer(context.encoder.bundle, context.encoder)
        self._target, self._index, self._context = target, target.index, context
        self._window = default_window(context.encoder.bundle)

    def settings(self) -> dict[str, Any]:
        """What the page must know before the first search.

        Raises:
            ClusterError: The cluster does not answer, or the index does not exist.
        """
        with cluster_errors():
            total = self._count_products()
            profile = self._client.profile(self._index)
        return {
            "index": self._index,
            "field": self._shown_field(profile),
            "products": total,
            "window": self._window,
            "max_shift": MAX_SHIFT,
            "problem": None if profile.signals or not total else self._not_ingested(profile),
        }

    def search(self, query: str) -> dict[str, Any]:
        """The products of the lexical list, and their order after reranking.

        Raises:
            ClusterError: The cluster does not answer, or refuses the search.
        """
        with cluster_errors():
            profile = self._client.profile(self._index)
            field = self._shown_field(profile)
            size = max(self._window, MIN_PAGE_PRODUCTS)
            body = {"query": _match(field, query), "size": size}
            before = search_within_limit(self._search, body | self._source(profile, field), {"size": 1})
            if not before["hits"]["hits"]:
                return self._result(query, profile, before, before) | self._explain_nothing(query, field)
            after = self._search(body | {"size": len(before["hits"]["hits"]), "_source": False}, mode="client")
        return self._result(query, profile, before, after)

    def draw_map(self, query: str, texts: Mapping[str, str]) -> dict[str, Any]:
        """Map of a query, of its words as queries of their own, and of the texts of products by id.

        Raises:
            DataError: The query has no letters or digits.
        """
        words = spelled_words(query, self._context.encoder.bundle.vocabulary.text_rules)
        queries = [query, *(words[:MAX_MAP_WORDS] if len(words) > 1 else [])]
        return map_titles(self._explainer, queries, [*texts.values()], ids=[*texts]).to_dict()

    def _search(self, body: dict[str, Any], mode: Any = "none") -> Response:  # noqa: ANN401 (a name of a mode)
        return self._client.search(self._index, body, mode=mode, preference=_PREFERENCE)

    def _shown_field(self, profile: IndexProfile) -> str:
        return self._target.field or next(iter(profile.text_fields), DEFAULT_TEXT_FIELDS[0])

    @staticmethod
    def _source(profile: IndexProfile, field: str) -> dict[str, Any]:
        fields = profile.scoring.fields
        shown = dict.fromkeys((field, *profile.text_fields, fields.model, fields.trigrams, fields.vector))
        return {"_source": [*shown]} if profile.text_fields else {}

    def _explain_nothing(self, query: str, field: str) -> dict[str, str | None]:
        """For a query that finds nothing: a query that may have been meant, or else what is wrong."""
        suggestion = self._suggest(query, field)
        return {"suggestion": suggestion, "reason": None if suggestion else self._why_nothing_is_found(field)}

    def _suggest(self, query: str, field: str) -> str | None:
        """A query with words of the index instead of misspelt ones, for a query that found nothing."""
        body = {"query": _match(field, query, fuzziness="AUTO"), "size": _SUGGESTION_TITLES}
        try:
            hits = self._search(body | {"_source": [field]})["hits"]["hits"]
        except OpenSearchException:  # a field of dates, for example, cannot be searched like this
            return None
        return suggest_query(query, [product.title for product in page_products(hits, field, (field,), None, None)])

    def _why_nothing_is_found(self, field: str) -> str | None:
        """What is wrong with the index or the field; None if the query alone can be the cause.

        Raises:
            ClusterError: No index has the field; the message names the text fields.
        """
        if not self._count_products():
            return f"{self._index} has no products"
        try:
            return check_shown_field(self._target.cluster, self._index, field, [])
        except AuthorizationException:  # the types of fields are a permission of their own
            return None

    def _count_products(self) -> int:
        found = self._search({"query": MATCH_ALL, "size": 0, "track_total_hits": True})
        count: int = found["hits"]["total"]["value"]
        return count

    def _result(self, query: str, profile: IndexProfile, before: Response, after: Response) -> dict[str, Any]:
        hits, report = before["hits"]["hits"], after["anthem"]
        from_texts = is_attention_from_texts(report, profile, hits[: self._window])
        signals = fused_signals(report, profile, from_texts=from_texts)
        distance, attention = self._signals(query, profile, hits, signals, from_texts=from_texts)
        products = page_products(hits, self._shown_field(profile), profile.text_fields, distance, attention)
        note = self._not_ingested(profile) if report["reranked"] and from_texts else None
        return {
            "products": products_to_json(products),
            "order": page_order(hits, after["hits"]["hits"]),
            "total": before["hits"]["total"],
            "fusion": describe_fusion(profile.scoring, signals),
            "reranked": report["reranked"],
            "reason": report["reason"],
            "signals": report["signals"],
            "note": note,
        }

    def _signals(
        self, query: str, profile: IndexProfile, hits: Sequence[Hit], signals: Signals, *, from_texts: bool
    ) -> tuple[Array | None, Array | None]:
        """Distance and attention score of each hit, None for a signal that did not rank."""
        region, scoring = encode_phrases(self._context.encode_query, [query]), profile.scoring
        distance = hit_distances(hits, region, scoring) if region is not None and "containment" in signals else None
        if "attention" not in signals or self._context.attention is None:
            return distance, None
        tables = self._context.encode_tables([query])
        if not from_texts:
            return distance, stored_attention(hits, tables, scoring)
        texts = [product_text(hit.get("_source", {}), profile.text_fields) for hit in hits]
        return distance, score_attention(tables, self._context.attention.encode_titles(texts))

    def _not_ingested(self, profile: IndexProfile) -> str:
        return missing_values_reason(self._index, profile)


def _match(field: str, query: str, **options: str) -> dict[str, Any]:
    """Query for a text in a field; one of numbers finds nothing, rather than refusing what is no number."""
    return {"match": {field: {"query": query, "lenient": True, **options}}}
