"""The rerank endpoints are compatible with Cohere, ml-commons, Text Embeddings Inference (TEI), Jina and vLLM."""

import re

import numpy as np
import pytest
from attention_index import encoder_without_attention  # noqa: F401 (a fixture)
from hypothesis import given, settings
from hypothesis import strategies as st

from anthem_core.encoding.attention import AttentionScorer
from anthem_core.encoding.stored_vectors import unpack_points
from anthem_core.fusion import model_shift, relevance
from anthem_plugin.scoring.documents import DocumentScorer, parse_vector
from anthem_plugin.scoring.params import ATTENTION, CONTAINMENT, ScoringParams, to_float64
from anthem_plugin.service.context import MAX_INLINE_CHARACTERS
from anthem_plugin.service.rerank import log_odds, round_score
from anthem_plugin.service.settings import ServiceSettings

DEFAULTS = ServiceSettings()
TITLES = ["fire tv stick 4k", "ceramic teapot", "red tv stand", "fire pit", "?!", "", "टीवी fire"]
# The exact bytes of ml-commons: gson escapes the documents, and the query is escaped once more than JSON requires.
ML_COMMONS_REQUEST = (
    rb'{ "documents": ["TV \u003cstand\u003e \u0026 \u0027more\u0027","caf\u00e9 \"table\"","fire\/tv"],'
    rb' "query": "4k \/ t\u00e9l\u00e9 \"tv\"", "model": "anthem", "top_n": 3 }'
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@pytest.fixture(scope="module")
def service(attention_encoder, run_service):
    """HTTP client of a service with the golden attention graphs."""
    with run_service(attention_encoder) as http:
        yield http


@pytest.fixture(scope="module")
def shipped_service(encoder, run_service):
    """HTTP client of a service with the shipped bundle."""
    with run_service(encoder) as http:
        yield http


def cohere(http, query, documents, **more):
    """Results of `POST /v1/rerank`."""
    response = http.post("/v1/rerank", json={"query": query, "documents": documents, **more})
    assert response.status_code == 200, response.text
    return response.json()["results"]


def by_index(results):
    """Scores in the order of the documents."""
    return [result["relevance_score"] for result in sorted(results, key=lambda result: result["index"])]


def test_requests_of_ml_commons_are_understood(service):
    """The escaped request of ml-commons scores like the unescaped texts."""
    response = service.post("/v1/rerank", content=ML_COMMONS_REQUEST, headers={"content-type": "application/json"})
    plain = cohere(service, '4k / télé "tv"', ["TV <stand> & 'more'", 'café "table"', "fire/tv"])
    assert response.json()["results"] == plain
    assert response.json()["meta"] == {"api_version": {"version": "1"}}
    assert response.json()["id"]


@given(texts, st.lists(texts, min_size=1, max_size=6))
@settings(max_examples=60)
def test_every_document_is_ranked_with_a_score_that_java_can_read(service, query, documents):
    """Every document occurs once, in descending order; each score has a point or an exponent and few characters."""
    for path, field, name in (("/v1/rerank", "documents", "relevance_score"), ("/rerank", "texts", "score")):
        response = service.post(path, json={"query": query, field: documents})
        results = response.json()["results"] if path == "/v1/rerank" else response.json()
        assert sorted(result["index"] for result in results) == list(range(len(documents)))
        scores = [result[name] for result in results]
        assert scores == sorted(scores, reverse=True)
        numbers = re.findall(r'score":([^,}]+)', response.text)
        assert len(numbers) >= len(documents)
        assert all(len(number) <= 18 and re.search(r"[.e]", number) for number in numbers)


@given(st.floats(0, 1) | st.floats(-30, 30))
def test_rounded_scores_are_accurate_and_readable_by_java(value):
    """Rounding to nine digits loses less than one part in 10⁸; the text is never an integer or over 18 characters."""
    number = round_score(value)
    assert number == pytest.approx(value, rel=1e-8, abs=1e-300)
    assert len(repr(number)) <= 18
    assert re.search(r"[.e]", repr(number))


def test_titles_are_scored_by_attention_alone(service, attention_encoder):
    """The score of a title is σ(m), m what attention says about it; its point would not change it."""
    titles = [title for title in TITLES if title not in ("?!", "")]
    scorer, scoring = AttentionScorer(attention_encoder.bundle), ScoringParams.from_bundle(attention_encoder.bundle)
    shift = model_shift(None, scorer.score_titles("fire tv", titles), scoring.fusion_for(ATTENTION))
    np.testing.assert_allclose(by_index(cohere(service, "fire tv", titles)), 1 / (1 + np.exp(-shift)), rtol=1e-6)


def test_without_attention_titles_are_scored_by_containment(run_service, encoder_without_attention):  # noqa: F811
    """If the bundle has no attention, a title scores like its point."""
    titles = TITLES[:4]
    with run_service(encoder_without_attention) as http:
        vectors = http.post("/encode/products", json={"texts": titles}).json()["vectors"]
        by_points = cohere(http, "fire tv", [" ".join(map(str, vector)) for vector in vectors])
        assert cohere(http, "fire tv", titles) == by_points
    assert len(set(by_index(by_points))) == len(titles)


def test_scores_do_not_depend_on_the_other_documents(service):
    """The score of a document depends neither on the other documents nor on their order."""
    together = by_index(cohere(service, "fire tv", TITLES))
    alone = [cohere(service, "fire tv", [title])[0]["relevance_score"] for title in TITLES]
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    np.testing.assert_allclose(by_index(cohere(service, "fire tv", TITLES[::-1]))[::-1], together, rtol=1e-5)


@pytest.mark.parametrize("form", ["{}", "[{}]", " [ {} ] "])
@pytest.mark.parametrize("between", [" ", ", ", ","])
def test_a_vector_as_text_scores_like_its_point(encoder, attention_encoder, form, between):
    """A vector in the text format of any OpenSearch version scores by containment, whatever the other documents are."""
    for bundle_encoder in (encoder, attention_encoder):
        vectors = bundle_encoder.encode_vectors(TITLES[:4])
        written = [form.format(between.join(map(str, vector))) for vector in vectors.tolist()]
        bundle = bundle_encoder.bundle
        scorer, scoring = DocumentScorer(bundle_encoder, AttentionScorer(bundle)), ScoringParams.from_bundle(bundle)
        exact = unpack_points(vectors, bundle.vector_step)
        distance = to_float64(bundle_encoder.encode_query("fire tv")).distance(exact, scoring.gamma)
        expected = relevance(model_shift(distance, None, scoring.fusion_for(CONTAINMENT)))
        np.testing.assert_allclose(scorer.score("fire tv", written), expected, rtol=1e-12)
        mixed = scorer.score("fire tv", [*TITLES, *written])
        np.testing.assert_allclose(mixed, [*scorer.score("fire tv", TITLES), *expected], rtol=1e-12)


@pytest.mark.parametrize("text", ["1 2", "", "1, 2, x", "1 2 nan", "1 2 inf", "1 2 1e999", "1 2 128", "1 2 -129",
                                  "1 2 0.5", "[[1 2 3]]", "1 2 3 4", "- + e"])  # fmt: skip
def test_other_texts_are_not_vectors(text):
    """A text with a wrong count of numbers, or with numbers that are not whole or not in a byte, is not a vector."""
    assert parse_vector(text, 3, 0.25) is None
    assert parse_vector("[2, 1, 0]", 3, 0.25).tolist() == [pytest.approx(1.1456439), 0.5, 0.25, 0.0]


def test_a_query_without_words_keeps_the_order(service):
    """A query without letters gives every document a score of ½ and keeps the order; so does a document without."""
    results = cohere(service, "?!", TITLES)
    assert [result["index"] for result in results] == list(range(len(TITLES)))
    assert {result["relevance_score"] for result in results} == {0.5}
    scores = by_index(cohere(service, "fire tv", TITLES))
    assert scores[4] == scores[5] == 0.5


def test_many_characters_are_scored_like_few(service):
    """A request that is computed in a thread has the scores of requests that are computed at once."""
    filler = ["fire " * 60] * (MAX_INLINE_CHARACTERS // 300 + 1)
    together = by_index(cohere(service, "fire tv", [*TITLES, *filler]))
    assert together[: len(TITLES)] == by_index(cohere(service, "fire tv", TITLES))
    assert set(together[len(TITLES) :]) == set(by_index(cohere(service, "fire tv", filler[:1])))


def test_the_shipped_bundle_reranks(shipped_service):
    """The shipped bundle gives the titles different scores."""
    assert len(set(by_index(cohere(shipped_service, "fire tv", TITLES)))) > 3


def test_the_parameters_of_cohere_are_supported(service):
    """`top_n` limits the results, `return_documents` adds the texts, objects are accepted, unknown names ignored."""
    results = cohere(service, "fire tv", TITLES)
    assert cohere(service, "fire tv", TITLES, top_n=2) == results[:2]
    assert cohere(service, "fire tv", TITLES, top_n=99, max_chunks_per_doc=3, rank_fields=["text"]) == results
    assert cohere(service, "fire tv", [{"text": title, "id": 7} for title in TITLES]) == results
    with_documents = cohere(service, "fire tv", TITLES, return_documents=True)
    assert [result["document"]["text"] for result in with_documents] == [
        TITLES[result["index"]] for result in with_documents
    ]
    assert all(set(result) == {"index", "relevance_score"} for result in results)


def test_the_parameters_of_tei_are_supported(service):
    """The response is an array; `return_text` adds the texts, `raw_scores` returns log-odds in the same order."""
    body = {"query": "fire tv", "texts": TITLES, "truncate": True, "truncation_direction": "right"}
    plain = service.post("/rerank", json=body).json()
    raw = service.post("/rerank", json=body | {"raw_scores": True, "return_text": True}).json()
    assert all(set(result) == {"index", "score", "relevance_score"} for result in plain)
    assert [result["index"] for result in raw] == [result["index"] for result in plain]
    assert [result["text"] for result in raw] == [TITLES[result["index"]] for result in raw]
    np.testing.assert_allclose(
        [1 / (1 + np.exp(-result["score"])) for result in raw], [result["score"] for result in plain], 1e-6
    )
    np.testing.assert_allclose(by_index(plain), by_index(cohere(service, "fire tv", TITLES)))


def test_version_2_of_cohere_ranks_like_version_1(service):
    """`/v2/rerank` has the results of `/v1/rerank`, and names its version; tokens per document are ignored."""
    body = {"model": "rerank-v3.5", "query": "fire tv", "documents": TITLES, "top_n": 3, "max_tokens_per_doc": 4096}
    answer = service.post("/v2/rerank", json=body).json()
    assert answer["results"] == cohere(service, "fire tv", TITLES)[:3]
    assert answer["meta"] == {"api_version": {"version": "2"}}
    assert set(answer) == {"id", "results", "meta"}


def test_documents_are_reranked_as_jina_and_vllm_do(service, attention_encoder):
    """`documents` instead of `texts` gives an object with results and their documents, unless they are not wanted."""
    body = {"model": "jina-reranker-v2-base-multilingual", "query": "fire tv", "documents": TITLES}
    answer = service.post("/rerank", json=body).json()
    plain = cohere(service, "fire tv", TITLES)
    assert [(result["index"], result["relevance_score"]) for result in answer["results"]] == [
        (result["index"], result["relevance_score"]) for result in plain
    ]
    assert [result["document"]["text"] for result in answer["results"]] == [TITLES[result["index"]] for result in plain]
    assert (answer["model"], answer["usage"]) == (attention_encoder.bundle.model_id, {"total_tokens": 0})
    without = service.post("/rerank", json=body | {"return_documents": False, "top_n": 2}).json()["results"]
    assert without == plain[:2]
    raw = service.post("/rerank", json=body | {"raw_scores": True}).json()["results"]
    texts = service.post("/rerank", json={"query": "fire tv", "texts": TITLES, "raw_scores": True}).json()
    assert [result["relevance_score"] for result in raw] == [result["score"] for result in texts]


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/rerank"])
@pytest.mark.parametrize(
    ("document", "rank_fields", "text"),
    [
        ({"text": "fire tv", "title": "teapot"}, None, "fire tv"),
        ({"text": "fire tv", "title": "teapot"}, [], "fire tv"),
        ({"text": "fire tv", "title": "teapot"}, ["title"], "teapot"),
        ({"title": "fire tv", "brand": "Amazon"}, ["brand", "title"], "Amazon\nfire tv"),
        ({"title": "fire tv", "brand": None}, ["brand", "title", "colour"], "fire tv"),
        (
            {"title": "fire tv", "price": 39.5, "tags": ["stick", 4]},
            ["title", "price", "tags"],
            "fire tv\n39.5\nstick 4",
        ),
        ({"title": "", "brand": "Amazon"}, ["title"], ""),
        ({"title": "", "brand": "Amazon"}, ["title", "brand"], "Amazon"),
        ({"title": "fire tv", "size": 55, "sold": True}, ["size", "sold"], "55"),
        ({"title": "fire tv", "sold": [False, None, "stick", 0]}, ["title"], "fire tv"),
        ({"title": ["fire", None, True, 4.5, -1], "new": False}, ["new", "title"], "fire 4.5 -1"),
        ({"title": None, "sold": False, "tags": []}, ["title", "sold", "tags"], ""),
        ({"title": "fire tv", "size": float(2**60)}, ["title"], "fire tv"),
    ],
)
def test_documents_may_be_objects(service, path, document, rank_fields, text):
    """An object is ranked by its `text`, or by its `rank_fields` in their order; what is no text is left out."""
    body = {"query": "fire tv", "documents": [document, "teapot"], "return_documents": True}
    ranked = service.post(path, json=body | {"rank_fields": rank_fields}).json()["results"]
    assert by_index(ranked) == by_index(cohere(service, "fire tv", [text, "teapot"]))
    assert next(result["document"]["text"] for result in ranked if result["index"] == 0) == text


@pytest.mark.parametrize(("probability", "odds"), [(0.0, -30), (1.0, 30), (0.5, 0), (1e-20, -30), (0.9, np.log(9))])
def test_log_odds_are_finite(probability, odds):
    """Probabilities of 0 and 1 have finite log-odds too, because JSON has no infinity."""
    assert log_odds(probability) == pytest.approx(odds)


def test_a_long_document_is_truncated(service):
    """Characters past the limit are ignored and cause no error."""
    long = "fire tv " * (DEFAULTS.max_characters // 4)
    cut = cohere(service, "fire tv", [long[: DEFAULTS.max_characters]])
    assert cohere(service, "fire tv", [long]) == cut
    assert cohere(service, "fire tv" + " tv" * DEFAULTS.max_characters, ["tv"])


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/rerank", {"query": "tv", "documents": []}, "documents"),
        ("/v1/rerank", {"query": "tv", "documents": ["a"] * (DEFAULTS.max_documents + 1)}, "documents"),
        ("/v1/rerank", {"query": "tv", "documents": [5]}, "documents"),
        ("/v1/rerank", {"query": "tv", "documents": ["a"], "top_n": 0}, "top_n"),
        ("/v1/rerank", {"documents": ["a"]}, "query"),
        ("/rerank", {"query": "tv", "texts": "tv"}, "texts"),
        ("/rerank", {"query": "tv", "texts": []}, "texts"),
    ],
)
def test_invalid_requests_are_rejected(service, path, body, field):
    """A missing, empty, oversized or mistyped field is answered with 422 and a sentence that names it."""
    response = service.post(path, json=body)
    assert response.status_code == 422
    assert field in response.json()["detail"]
