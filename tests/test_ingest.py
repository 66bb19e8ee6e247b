"""Laws of the ingest package that need no cluster."""

import itertools

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from opensearchpy.exceptions import TransportError

from anthem_core.beir import Product
from anthem_core.errors import ClusterError, DataError
from anthem_core.opensearch.connection import connect
from anthem_core.opensearch.schema import VectorFields, product_text
from anthem_ingest.actions import (
    MATCH_ALL,
    ProductDocument,
    build_index_action,
    build_product_source,
    build_read_body,
    build_update_action,
    check_beir_fields,
    has_vector_data,
    invalid_id_reason,
    is_current,
)
from anthem_ingest.cli import ingest
from anthem_ingest.encode import LoadTarget, VectorBuilder, plan_loads, plan_updates
from anthem_ingest.index_io import BUSY_STATUSES, CHANGED_STATUSES, _handle_refusal
from anthem_ingest.ingest import load_products, survey_index
from anthem_ingest.report import MAX_LISTED_FAILURES, IndexSurvey, IngestFailure, IngestReport, IngestTally

NAMES = VectorFields()
NOWHERE = LoadTarget("shop", lambda _: {})

words = st.text(max_size=20)
keys = st.text("abcdef", min_size=1, max_size=4)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | words, lambda node: st.lists(node) | st.dictionaries(keys, node)
)


def a_hit(identity, source, **rest):
    """Return a hit as a page would hold it."""
    return {"_index": "shop", "_id": identity, "_seq_no": 3, "_primary_term": 1, "_source": source, **rest}


def pointed(source, identity="1"):
    """Return a hit that the cluster says has a vector."""
    return a_hit(identity, source, matched_queries=["anthem.vector"])


@given(words)
def test_one_string_field_is_the_text(title):
    """The text of one string field is exactly its value."""
    assert product_text({"title": title}, ["title"]) == title


@given(json_values, keys, keys)
def test_nested_and_dotted_sources_read_alike(value, outer, inner):
    """A path reads the same from nested objects and from a dotted key, as OpenSearch indexes them."""
    path = [f"{outer}.{inner}"]
    assert product_text({outer: {inner: value}}, path) == product_text({path[0]: value}, path)


@given(st.lists(st.lists(words, max_size=3), min_size=1, max_size=4))
def test_fields_are_joined_in_order(lists):
    """Several fields, and several values of one, are joined by a space in the order asked for."""
    source = {f"f{number}": values for number, values in enumerate(lists)}
    expected = " ".join(value for values in lists for value in values)
    assert product_text(source, list(source)) == expected
    assert product_text(source, ["absent"]) == ""


def test_only_strings_and_numbers_are_text():
    """A boolean, a null or an object gives no text; a number gives its digits."""
    assert product_text({"a": [True, None, {"b": "c"}, 7, 1.5, "x"]}, ["a"]) == "7 1.5 x"


@given(st.lists(keys, max_size=3))
def test_products_are_read_without_their_vectors(fields):
    """What is read is the text fields, the model and the hash, with the state of each product, and no vector."""
    body = build_read_body(fields, NAMES, MATCH_ALL)
    assert body["_source"] == [*fields, "anthem.model", "anthem.text_hash"]
    assert body["seq_no_primary_term"] is True


@given(words, words, words, words)
def test_a_point_is_current_for_its_text_and_model_alone(text, other_text, model, other_model):
    """What `Fields.document` writes is current exactly for the same text and the same model."""
    hit = pointed({"title": text, **NAMES.document([1.0, 0.0], model, text)})
    assert is_current(hit, NAMES, model, text)
    assert is_current(hit, NAMES, other_model, other_text) == ((other_model, other_text) == (model, text))
    assert not is_current(a_hit("1", hit["_source"]), NAMES, model, text), "its vector is gone"


@pytest.mark.parametrize("source", [{}, {"anthem": None}, {"anthem": {}}, {"anthem": "foreign"}])
def test_a_product_without_a_point_is_never_current(source):
    """A product whose point is absent, or was taken away, is not current."""
    assert not has_vector_data(a_hit("1", source), NAMES)
    assert not is_current(pointed(source), NAMES, "", "")


@given(st.text(min_size=1), st.none() | st.text(min_size=1), st.integers(0), st.integers(1))
def test_an_update_names_the_state_that_was_read(identity, routing, seq_no, term):
    """An update holds only for the sequence number and primary term that were read, and keeps the routing."""
    hit = a_hit(identity, {}, _seq_no=seq_no, _primary_term=term, **({"_routing": routing} if routing else {}))
    action = build_update_action(hit, {"anthem": None})
    assert (action["_id"], action["if_seq_no"], action["if_primary_term"]) == (identity, seq_no, term)
    assert action.get("routing") == routing


@given(st.text(min_size=1), words, words, st.dictionaries(keys, words))
def test_a_loaded_product_keeps_all_it_has(identity, title, text, metadata):
    """A product loaded from a file has its id and every part that is not empty."""
    product = Product(identity, title, text, metadata)
    action = build_index_action("shop", product.id, build_product_source(product))
    assert action["_id"] == identity
    parts = {"title": title, "text": text, "metadata": metadata}
    assert action["_source"] == {name: value for name, value in parts.items() if value}


@given(st.integers(0, 3 * MAX_LISTED_FAILURES))
def test_all_failures_are_counted_and_few_are_kept(number):
    """Every failure is counted; only the first are kept by name, so memory stays flat."""
    tally = IngestTally()
    for identity in range(number):
        tally.fail(str(identity), "because")
    report = tally.report()
    assert report.failed == number
    assert report.failures == tuple(
        IngestFailure(str(identity), "because") for identity in range(min(number, MAX_LISTED_FAILURES))
    )


def test_a_report_says_every_count():
    """The text of a report names what was written, skipped and failed, and what else there is to know."""
    text = str(IngestReport(11, 12, 13, 14, 15, 2.0))
    for words_ in ("11 written", "12 skipped", "14 failed", "13 have no letter", "15 changed meanwhile"):
        assert words_ in text
    assert str(IndexSurvey("shop", 2000, 0, 0, 845)) == "shop: 2000 products, 0 without a vector.", "nothing is added"
    assert "meanwhile" not in str(IngestReport(1, 0, 0, 0, 0, 0.0))


def test_a_survey_says_the_cost():
    """Before it begins, ingest says how many vectors there are to make and what they will take."""
    text = str(IndexSurvey("shop", 2000, 500, 1000, 845))
    for words_ in ("2000 products", "1000 without", "500 with one of another model", "845 bytes", "0.8 MB"):
        assert words_ in text


@given(st.lists(st.sampled_from(["red shoe", "", "!?", "sofa", "Schuh"]), max_size=20), st.data())
def test_every_product_is_skipped_updated_or_empty(encoder, titles, data):
    """Each product of a page is skipped, updated or empty, and exactly those that are not current are updated."""
    recipe, tally, done = VectorBuilder(encoder), IngestTally(), []
    current = data.draw(st.lists(st.booleans(), min_size=len(titles), max_size=len(titles)))
    documents = [recipe.documents([title])[0] if has else {} for title, has in zip(titles, current, strict=True)]
    hits = [
        a_hit(str(number), {"title": title, **document}, matched_queries=["anthem.vector"] if document else [])
        for number, (title, document) in enumerate(zip(titles, documents, strict=True))
    ]
    actions = list(plan_updates([hits], recipe, tally, done.append))
    assert len(actions) + tally.skipped + tally.empty == len(titles) == sum(done)
    worded = {str(number) for number, title in enumerate(titles) if any(map(str.isalnum, title))}
    assert {action["_id"] for action in actions} == worded - {str(n) for n, has in enumerate(current) if has}


def test_a_point_whose_text_has_gone_is_taken_away(encoder):
    """A product that lost its text loses its point, once."""
    recipe, tally = VectorBuilder(encoder), IngestTally()
    hit = pointed({"title": "!", **recipe.documents(["red shoe"])[0]})
    (action,) = plan_updates([[hit]], recipe, tally, lambda _: None)
    assert action["_source"] == {"doc": {"anthem": None}}
    assert tally.empty == 0, "it counts when it is written"
    tally.succeed("1")
    assert (tally.written, tally.empty) == (0, 1)
    assert not list(plan_updates([[a_hit("1", {"title": "!", "anthem": None})]], recipe, tally, lambda _: None))
    assert tally.empty == 2


@given(st.integers(0, 2000), st.sampled_from("aü€𝄞"))
def test_an_id_is_good_up_to_512_bytes(length, letter):
    """Ids are measured in bytes of UTF-8, as OpenSearch does."""
    assert (invalid_id_reason(letter * length) is None) == (0 < len((letter * length).encode()) <= 512)


def test_a_failure_is_shown_on_one_harmless_line():
    """An id or a reason with control characters cannot play with a terminal."""
    assert str(IngestFailure("a\x1b[2J", "line\nbreak\ud800")) == "a[2J: line break"


@given(st.lists(st.sampled_from(["red shoe", "?!", "sofa"]), max_size=20))
def test_every_loaded_product_is_written(encoder, titles):
    """Loading writes every product in order, those with words with a current point and the others without."""
    recipe, tally = VectorBuilder(encoder), IngestTally()
    products = [ProductDocument(str(number), {"title": title}) for number, title in enumerate(titles)]
    actions = list(plan_loads(products, recipe, tally, NOWHERE, lambda _: None))
    assert [action["_id"] for action in actions] == [product.id for product in products]
    for action, title in zip(actions, titles, strict=True):
        assert is_current(pointed(action["_source"]), NAMES, encoder.bundle.model, title) == (title != "?!")
        tally.succeed(action["_id"])
    assert (tally.empty, tally.written + tally.empty) == (titles.count("?!"), len(titles))


def test_loading_reads_ahead_no_further_than_a_page(encoder):
    """Products are read as they are written: memory does not grow with the file."""
    read = []
    endless = (read.append(number) or ProductDocument(str(number), {"title": "sofa"}) for number in itertools.count())
    next(plan_loads(endless, VectorBuilder(encoder), IngestTally(), NOWHERE, lambda _: None))
    assert len(read) == 500


@pytest.mark.parametrize("status", [400, 404, 409, 413, 429, 503, "TIMEOUT"])
@pytest.mark.parametrize("again", [CHANGED_STATUSES | BUSY_STATUSES, CHANGED_STATUSES, frozenset()])
def test_a_refusal_is_kept_for_later_or_counted(status, again):
    """A product the cluster refuses is read again where that can help, and counted as failed where it cannot."""
    tally = IngestTally()
    _handle_refusal({"_id": "1", "status": status, "error": {"type": "any", "reason": "because"}}, tally, again)
    later = status in again
    assert tally.again == (["1"] if later else [])
    assert tally.failures == ([] if later else [IngestFailure("1", "because")])


@pytest.mark.parametrize("status", [401, 403, "N/A"])
def test_a_cluster_that_is_gone_ends_the_run(status):
    """Where a whole request failed and the next would fail alike, ingest stops rather than fail every product."""
    error = TransportError(status, "no")
    with pytest.raises(TransportError):
        _handle_refusal(
            {"_id": "1", "status": status, "error": "no", "exception": error},
            IngestTally(),
            CHANGED_STATUSES | BUSY_STATUSES,
        )


def test_a_cluster_that_does_not_answer_is_said_so(encoder):
    """No answer is an error of the cluster, in words."""
    with pytest.raises(ClusterError, match="does not answer"), connect("http://127.0.0.1:9") as client:
        survey_index(client, "shop", encoder.bundle)


def test_a_field_that_no_corpus_has_is_refused(encoder):
    """A misspelled field of a corpus is refused before anything is sent, rather than loaded without points."""
    with pytest.raises(DataError, match="titel"), connect("http://127.0.0.1:9") as client:
        load_products(client, "shop", [], encoder, fields=["title", "titel"])
    check_beir_fields(["title", "text", "metadata.brand.name"])


def test_help_has_an_example():
    """The help of the command shows how to call it."""
    result = CliRunner().invoke(ingest, ["--help"])
    assert result.exit_code == 0
    assert "anthem ingest products --corpus corpus.jsonl.gz" in result.output
