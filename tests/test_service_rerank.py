"""Laws of the rerank endpoints, under the contracts of Cohere, ml-commons and Text Embeddings Inference."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anthem_core.encoding.attention import AttentionScorer
from anthem_core.fusion import fuse
from anthem_core.geometry.regions import query_distance
from anthem_plugin.scoring.documents import DocumentScorer, parse_vector
from anthem_plugin.scoring.params import ScoringParams, to_float64
from anthem_plugin.scoring.window import lift_point
from anthem_plugin.service.rerank import log_odds, round_score
from anthem_plugin.service.settings import ServiceSettings

LIMITS = ServiceSettings()
TITLES = ["fire tv stick 4k", "ceramic teapot", "red tv stand", "fire pit", "?!", "", "टीवी fire"]
# Byte for byte what ml-commons sends: gson escapes the documents, the query is escaped once more than JSON asks for.
BYTES = (
    rb'{ "documents": ["TV \u003cstand\u003e \u0026 \u0027more\u0027","caf\u00e9 \"table\"","fire\/tv"],'
    rb' "query": "4k \/ t\u00e9l\u00e9 \"tv\"", "model": "anthem", "top_n": 3 }'
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@pytest.fixture(scope="module")
def service(attentive, serving):
    """HTTP client of a service whose bundle has attention."""
    with serving(attentive) as http:
        yield http


@pytest.fixture(scope="module")
def without(encoder, serving):
    """HTTP client of a service with the bundle that ships, and whether that has attention or not."""
    with serving(encoder) as http:
        yield http


def cohere(http, query, documents, **more):
    """Results of `POST /v1/rerank`."""
    response = http.post("/v1/rerank", json={"query": query, "documents": documents, **more})
    assert response.status_code == 200, response.text
    return response.json()["results"]


def by_index(results):
    """Scores in the order of the documents."""
    return [one["relevance_score"] for one in sorted(results, key=lambda one: one["index"])]


def test_what_ml_commons_sends_is_read(service):
    """The bytes of ml-commons mean the texts they escape: query and documents score as the plain ones do."""
    response = service.post("/v1/rerank", content=BYTES, headers={"content-type": "application/json"})
    plain = cohere(service, '4k / télé "tv"', ["TV <stand> & 'more'", 'café "table"', "fire/tv"])
    assert response.json()["results"] == plain
    assert response.json()["meta"] == {"api_version": {"version": "1"}}
    assert response.json()["id"]


@given(texts, st.lists(texts, min_size=1, max_size=6))
@settings(max_examples=60)
def test_every_index_once_best_first_in_numbers_java_takes(service, query, documents):
    """Both endpoints answer every document once, in falling order, each score short, with a point or an exponent."""
    for path, field, name in (("/v1/rerank", "documents", "relevance_score"), ("/rerank", "texts", "score")):
        response = service.post(path, json={"query": query, field: documents})
        results = response.json()["results"] if path == "/v1/rerank" else response.json()
        assert sorted(one["index"] for one in results) == list(range(len(documents)))
        scores = [one[name] for one in results]
        assert scores == sorted(scores, reverse=True)
        written = re.findall(r'score":([^,}]+)', response.text)
        assert len(written) >= len(documents)
        assert all(len(number) <= 18 and re.search(r"[.e]", number) for number in written)


@given(st.floats(0, 1) | st.floats(-30, 30))
def test_a_short_number_is_near_and_fits_java(value):
    """Nine digits lose less than one part in 10⁸, and no number of them is longer than 18 characters or looks whole."""
    number = round_score(value)
    assert number == pytest.approx(value, rel=1e-8, abs=1e-300)
    assert len(repr(number)) <= 18
    assert re.search(r"[.e]", repr(number))


def test_scores_are_those_of_attention_and_containment(service, attentive):
    """A score fuses attention and distance with the bundle's weights, the lexical score held at half saturation."""
    said = [title for title in TITLES if title not in ("?!", "")]
    query, scoring = "fire tv", ScoringParams.of(attentive.bundle)
    fusion = scoring.attentive
    points = np.array([lift_point(point) for point in attentive.products(said)])
    distance = query_distance(to_float64(attentive.query(query)), points, scoring.gamma)
    attention = AttentionScorer(attentive.bundle).scores(query, said)
    expected = fuse(np.full(len(said), fusion.half_saturation), distance, fusion, attention)
    np.testing.assert_allclose(by_index(cohere(service, query, said)), expected, rtol=1e-6)


def test_company_changes_no_score(service):
    """A document's score depends on nothing but query and document: neither on the others nor on their order."""
    together = by_index(cohere(service, "fire tv", TITLES))
    alone = [cohere(service, "fire tv", [title])[0]["relevance_score"] for title in TITLES]
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    np.testing.assert_allclose(by_index(cohere(service, "fire tv", TITLES[::-1]))[::-1], together, rtol=1e-5)


@pytest.mark.parametrize("form", ["{}", "[{}]", " [ {} ] "])
@pytest.mark.parametrize("between", [" ", ", ", ","])
def test_a_vector_in_text_is_the_stored_point(encoder, attentive, form, between):
    """A document that is a vector, as either OpenSearch gives it, lies where its title does; containment ranks it."""
    for one in (encoder, attentive):
        points = one.products(TITLES[:4])
        spelt = [form.format(between.join(str(value) for value in point)) for point in points]
        documents, scoring = DocumentScorer(one), ScoringParams.of(one.bundle)
        exact = np.array([lift_point(point) for point in points])
        distance = query_distance(to_float64(one.query("fire tv")), exact, scoring.gamma)
        fusion = scoring.attentive or scoring.fusion
        expected = fuse(np.full(4, fusion.half_saturation), distance, fusion)
        np.testing.assert_allclose(documents.scores("fire tv", spelt), expected, rtol=1e-12)


@pytest.mark.parametrize("text", ["1 2 3", "", "1, 2, x", "1 2 nan", "1 2 inf", "1 2 1e999", "1 2 1e300", "[[1 2 3]]",
                                  "1 2 3 4 5", "- + e ."])  # fmt: skip
def test_what_is_no_vector_is_a_title(text):
    """Too few numbers, too many, none, or ones that float32 does not hold make no point."""
    assert parse_vector(text, 3) is None
    assert parse_vector("[1, 0.5, 0.25, 0]", 3).tolist() == [pytest.approx(1.1456439), 0.5, 0.25, 0.0]


def test_what_says_nothing_keeps_its_order(service):
    """A query without letters ranks nothing: every score is alike and the order is the one given."""
    results = cohere(service, "?!", TITLES)
    assert [one["index"] for one in results] == list(range(len(TITLES)))
    assert len({one["relevance_score"] for one in results}) == 1
    mute = by_index(cohere(service, "fire tv", TITLES))
    assert mute[4] == mute[5]


def test_the_bundle_that_ships_reranks(without):
    """Whatever signals it has, titles that hold the query are not all scored alike."""
    assert len(set(by_index(cohere(without, "fire tv", TITLES)))) > 3


def test_cohere_clients_get_what_they_ask_for(service):
    """`top_n` cuts, `return_documents` brings the texts, a document may be an object, and unknown names are let be."""
    whole = cohere(service, "fire tv", TITLES)
    assert cohere(service, "fire tv", TITLES, top_n=2) == whole[:2]
    assert cohere(service, "fire tv", TITLES, top_n=99, max_chunks_per_doc=3, rank_fields=["text"]) == whole
    assert cohere(service, "fire tv", [{"text": title, "id": 7} for title in TITLES]) == whole
    shown = cohere(service, "fire tv", TITLES, return_documents=True)
    assert [one["document"]["text"] for one in shown] == [TITLES[one["index"]] for one in shown]
    assert all(set(one) == {"index", "relevance_score"} for one in whole)


def test_tei_clients_get_what_they_ask_for(service):
    """A bare array; `return_text` brings the texts, `raw_scores` the log-odds of the same order."""
    asked = {"query": "fire tv", "texts": TITLES, "truncate": True, "truncation_direction": "right"}
    plain = service.post("/rerank", json=asked).json()
    raw = service.post("/rerank", json=asked | {"raw_scores": True, "return_text": True}).json()
    assert all(set(one) == {"index", "score", "relevance_score"} for one in plain)
    assert [one["index"] for one in raw] == [one["index"] for one in plain]
    assert [one["text"] for one in raw] == [TITLES[one["index"]] for one in raw]
    np.testing.assert_allclose([1 / (1 + np.exp(-one["score"])) for one in raw], [one["score"] for one in plain], 1e-6)
    np.testing.assert_allclose(by_index(plain), by_index(cohere(service, "fire tv", TITLES)))


@pytest.mark.parametrize(("share", "odds"), [(0.0, -30), (1.0, 30), (0.5, 0), (1e-20, -30), (0.9, np.log(9))])
def test_log_odds_are_finite(share, odds):
    """A share of 0 or 1 has finite log-odds too: no answer ever holds an infinity."""
    assert log_odds(share) == pytest.approx(odds)


def test_a_long_document_is_read_as_far_as_it_goes(service):
    """What is beyond the limit changes nothing, and is no reason to fail a search."""
    long = "fire tv " * (LIMITS.characters // 4)
    cut = cohere(service, "fire tv", [long[: LIMITS.characters]])
    assert cohere(service, "fire tv", [long]) == cut
    assert cohere(service, "fire tv" + " tv" * LIMITS.characters, ["tv"])


@pytest.mark.parametrize(
    ("path", "asked", "named"),
    [
        ("/v1/rerank", {"query": "tv", "documents": []}, "documents"),
        ("/v1/rerank", {"query": "tv", "documents": ["a"] * (LIMITS.documents + 1)}, "documents"),
        ("/v1/rerank", {"query": "tv", "documents": [5]}, "documents"),
        ("/v1/rerank", {"query": "tv", "documents": ["a"], "top_n": 0}, "top_n"),
        ("/v1/rerank", {"documents": ["a"]}, "query"),
        ("/rerank", {"query": "tv", "texts": "tv"}, "texts"),
        ("/rerank", {"query": "tv", "texts": []}, "texts"),
    ],
)
def test_what_cannot_be_ranked_is_refused(service, path, asked, named):
    """No document, too many, or none that is a text: 422, and a sentence that names the place."""
    response = service.post(path, json=asked)
    assert response.status_code == 422
    assert named in response.json()["detail"]
