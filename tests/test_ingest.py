"""Ingest without a cluster: pure builders, counts, and reports."""

import itertools
import signal
from base64 import b64decode
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from opensearchpy.exceptions import TransportError
from shipped_words import split_words

from anthem_core.beir import Product
from anthem_core.errors import BundleError, ClusterError, DataError, PartialError
from anthem_core.opensearch.connection import connect
from anthem_core.opensearch.schema import MATCH_ALL, MODEL_SIGNALS, VALUE_OF_SIGNAL, ModelFields, product_text
from anthem_ingest.actions import (
    ProductDocument,
    build_index_action,
    build_product_source,
    build_read_body,
    build_update_action,
    check_beir_fields,
    has_model_data,
    invalid_id_reason,
    is_current,
    is_unchanged,
    outdated_values,
)
from anthem_ingest.cli import ingest
from anthem_ingest.encode import ValueBuilder, choose_signals, plan_updates
from anthem_ingest.index_io import BUSY_STATUSES, CHANGED_STATUSES, _count_refusal
from anthem_ingest.ingest import load_products, survey_index
from anthem_ingest.job import _sigterm_as_interrupt, check_complete
from anthem_ingest.loads import LoadTarget, plan_loads
from anthem_ingest.report import MAX_LISTED_FAILURES, IndexSurvey, IngestFailure, IngestReport, IngestTally

FIELDS = ModelFields()
EMPTY_INDEX = LoadTarget("products", lambda _: {})

texts = st.text(max_size=20)
keys = st.text("abcdef", min_size=1, max_size=4)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts, lambda node: st.lists(node) | st.dictionaries(keys, node)
)


def make_hit(product_id, source, **rest):
    """A hit as a page contains it."""
    return {"_index": "products", "_id": product_id, "_seq_no": 3, "_primary_term": 1, "_source": source, **rest}


def make_hit_with_values(source, product_id="1", signals=MODEL_SIGNALS):
    """A hit for which the cluster reports the values of these signals."""
    return make_hit(product_id, source, matched_queries=[FIELDS.value(signal) for signal in signals])


@given(texts)
def test_one_string_field_is_the_text(title):
    """The text of a single string field is exactly its value."""
    assert product_text({"title": title}, ["title"]) == title


@given(json_values, keys, keys)
def test_nested_and_dotted_sources_read_alike(value, outer, inner):
    """A path reads the same from nested objects and from a dotted key, as OpenSearch indexes them."""
    path = [f"{outer}.{inner}"]
    assert product_text({outer: {inner: value}}, path) == product_text({path[0]: value}, path)


@given(st.lists(st.lists(texts, max_size=3), min_size=1, max_size=4))
def test_fields_are_joined_in_order(lists):
    """Several fields, and several values of one, are joined by a space in the order of the fields."""
    source = {f"f{number}": values for number, values in enumerate(lists)}
    expected = " ".join(value for values in lists for value in values)
    assert product_text(source, list(source)) == expected
    assert product_text(source, ["absent"]) == ""


def test_only_strings_and_numbers_are_text():
    """A boolean, a null or an object gives no text; a number gives its digits."""
    assert product_text({"a": [True, None, {"b": "c"}, 7, 1.5, "x"]}, ["a"]) == "7 1.5 x"


@given(st.lists(keys, max_size=3))
def test_products_are_read_without_their_values(text_fields):
    """A page contains the text fields, model id, text hash and sequence number of each product, and no value."""
    body = build_read_body(text_fields, FIELDS, MATCH_ALL)
    assert body["_source"] == [*text_fields, "anthem.model", "anthem.text_hash"]
    assert body["seq_no_primary_term"] is True


signal_sets = st.sets(st.sampled_from(MODEL_SIGNALS))


@given(texts, texts, texts, texts, signal_sets, signal_sets)
def test_a_product_is_current_only_for_its_text_model_and_values(text, other_text, model, other_model, has, needs):
    """What `ModelFields.document` writes is current for the same words and model, if every requested value is there."""
    words, other_words = split_words(text), split_words(other_text)
    hit = make_hit_with_values({"title": text, **FIELDS.document([1, 0], model, words, b"abc")}, signals=has)
    assert is_current(hit, FIELDS, model, words, needs) == (needs <= has)
    is_same = (other_model, other_words) == (model, words)
    assert is_current(hit, FIELDS, other_model, other_words, needs) == (is_same and needs <= has)
    outdated = outdated_values(hit, FIELDS, other_model, other_words, needs)
    assert outdated == ({} if is_same else {VALUE_OF_SIGNAL[signal]: None for signal in has - needs})


@pytest.mark.parametrize("source", [{}, {"anthem": None}, {"anthem": {}}, {"anthem": "foreign"}])
def test_a_product_without_values_is_never_current(source):
    """A product whose values are missing or were removed is not current."""
    assert not has_model_data(make_hit("1", source), FIELDS)
    assert not is_current(make_hit_with_values(source), FIELDS, "", [], MODEL_SIGNALS)


@given(st.none() | st.just([1, -128]), st.none() | st.binary(min_size=1))
def test_a_document_has_the_values_that_are_given(vector, trigrams):
    """A partial document has a vector, trigrams in base64, or both, beside model id and text hash."""
    values = FIELDS.document(vector, "model", ["tv"], trigrams)["anthem"]
    assert values.pop("vector", None) == vector
    assert values.get("trigrams") is None if trigrams is None else b64decode(values["trigrams"]) == trigrams
    assert values.keys() - {"trigrams"} == {"model", "text_hash"}


@given(st.text(min_size=1), st.none() | st.text(min_size=1), st.integers(0), st.integers(1))
def test_an_update_is_conditional_on_the_state_that_was_read(product_id, routing, seq_no, term):
    """An update names the sequence number and primary term that were read, and keeps the routing."""
    hit = make_hit(product_id, {}, _seq_no=seq_no, _primary_term=term, **({"_routing": routing} if routing else {}))
    action = build_update_action(hit, {"anthem": None})
    assert (action["_id"], action["if_seq_no"], action["if_primary_term"]) == (product_id, seq_no, term)
    assert action.get("routing") == routing


@given(st.text(min_size=1), texts, texts, st.dictionaries(keys, texts))
def test_a_loaded_product_keeps_all_its_parts(product_id, title, text, metadata):
    """A product loaded from a file has its id and every part that is not empty."""
    product = Product(product_id, title, text, metadata)
    action = build_index_action("products", product.id, build_product_source(product))
    assert action["_id"] == product_id
    parts = {"title": title, "text": text, "metadata": metadata}
    assert action["_source"] == {name: value for name, value in parts.items() if value}


@given(st.integers(0, 3 * MAX_LISTED_FAILURES))
def test_all_failures_are_counted_and_the_first_are_listed(number):
    """Every failure is counted; only the first are listed, so memory does not grow."""
    tally = IngestTally()
    for product_id in range(number):
        tally.count_failed(str(product_id), "because")
    report = tally.report()
    assert report.failed == number
    listed = tuple(IngestFailure(str(product_id), "because") for product_id in range(min(number, MAX_LISTED_FAILURES)))
    assert report.failures == listed


def test_a_report_names_every_count():
    """The text of a report gives the products written, skipped and failed, and the empty and conflicting ones."""
    text = str(IngestReport(11, 12, 13, 14, 15, 2.0))
    for part in ("11 written", "12 skipped", "14 failed", "13 products without values", "15 changed during ingest"):
        assert part in text
    assert str(IndexSurvey("products", 9, 0, {"attention": 0}, {})) == "products: 9 products, 0 without trigrams."
    assert "changed" not in str(IngestReport(1, 0, 0, 0, 0, 0.0))
    assert IngestReport(1, 2, 3, 4, 5, 0.0).products == 15


@pytest.mark.parametrize(
    ("counts", "bad_lines", "message"),
    [((1, 0, 0, 0), 1, "1 line could not be read; all others were written. dead"),
     ((0, 0, 0, 2), 0, "2 products could not be written; nothing was written. dead"),
     ((0, 3, 0, 1), 2, "1 product could not be written and 2 lines could not be read; all others were written. dead")],
)  # fmt: skip
def test_the_last_message_says_what_is_missing(counts, bad_lines, message):
    """It names only what happened, and does not claim that others were written if there are none."""
    with pytest.raises(PartialError) as partial:
        check_complete(IngestReport(*counts, 0, 0.0), bad_lines, Path("dead"))
    assert str(partial.value).startswith(message)


def test_a_survey_of_a_file_names_its_products():
    """The cost of a load is that of the products of the file; those that are unchanged cost nothing."""
    sizes = {"containment": 384}
    text = str(IndexSurvey("products", 2, 0, {"containment": 2}, sizes, file="delta.csv"))
    assert "2 products in delta.csv; those that the index already has unchanged are skipped" in text
    assert "grows by at most 768 bytes" in text
    new = str(IndexSurvey("products", 1, 0, {"containment": 1}, sizes, is_new=True, file="delta.csv"))
    assert "1 product in delta.csv; the index is new" in new
    assert "grows by about 384 bytes" in new


def test_a_survey_names_the_cost():
    """Before it writes, ingest prints how many values are missing or stale and what they will take."""
    sizes = {"containment": 845, "attention": 580}
    text = str(IndexSurvey("products", 2000, 500, {"containment": 1000, "attention": 2000}, sizes))
    parts = ["2000 products", "1000 without a vector", "2000 without trigrams", "500 with values of another model"]
    for part in [*parts, "845 bytes", "580 bytes", "2.0 MB"]:
        assert part in text
    assert "vector" not in str(IndexSurvey("products", 2000, 0, {"attention": 2000}, sizes))


@pytest.mark.parametrize(
    ("products", "size"),
    [(1, "384 bytes"), (2, "768 bytes"), (20, "7.7 kB"), (2604, "999.9 kB"), (3000, "1.2 MB"), (10**6, "384.0 MB")],
)
@pytest.mark.parametrize("is_new", [True, False])
def test_a_survey_never_rounds_to_nothing(products, size, is_new):
    """A small index has a size in bytes or kB; only in an index that exists a product may count twice."""
    text = str(IndexSurvey("products", products, 0, {"containment": products}, {"containment": 384}, is_new=is_new))
    assert f"grows by about {size}, " in text
    assert ("counts twice" in text) == (not is_new)


@settings(max_examples=30)
@given(st.lists(st.sampled_from(["red shoe", "", "!?", "sofa", "Schuh"]), max_size=20), st.data())
def test_every_product_is_skipped_updated_or_empty(encoder, titles, data):
    """Each product of a page is skipped, updated or empty, and exactly those that are not current are updated."""
    builder, tally, advanced = ValueBuilder(encoder, MODEL_SIGNALS), IngestTally(), []
    current = data.draw(st.lists(st.booleans(), min_size=len(titles), max_size=len(titles)))
    documents = [builder.build([title])[0] if has else {} for title, has in zip(titles, current, strict=True)]
    hits = [
        make_hit_with_values({"title": title, **document}, str(number), MODEL_SIGNALS if document else ())
        for number, (title, document) in enumerate(zip(titles, documents, strict=True))
    ]
    actions = list(plan_updates([hits], builder, tally, advanced.append))
    assert len(actions) + tally.skipped + tally.empty == len(titles) == sum(advanced)
    with_words = {str(number) for number, title in enumerate(titles) if any(map(str.isalnum, title))}
    assert {action["_id"] for action in actions} == with_words - {str(n) for n, has in enumerate(current) if has}


def test_a_product_that_lost_its_text_loses_its_values(encoder):
    """A product that lost its text loses its values, once."""
    builder, tally = ValueBuilder(encoder, MODEL_SIGNALS), IngestTally()
    hit = make_hit_with_values({"title": "!", **builder.build(["red shoe"])[0]})
    (action,) = plan_updates([[hit]], builder, tally, lambda _: None)
    assert action["_source"]["doc"] == {"anthem": None}
    assert tally.empty == 0, "it is counted when it has been written"
    tally.count_written("1")
    assert (tally.written, tally.empty) == (0, 1)
    assert not list(plan_updates([[make_hit("1", {"title": "!", "anthem": None})]], builder, tally, lambda _: None))
    assert tally.empty == 2


@pytest.mark.parametrize("kept", MODEL_SIGNALS)
def test_a_value_that_is_not_written_never_stays_behind(encoder, kept):
    """A product whose text changed loses the value that this run does not write; an unchanged one keeps it."""
    builder = ValueBuilder(encoder, (kept,))
    both = ValueBuilder(encoder, MODEL_SIGNALS).build(["red shoe"])[0]
    (other,) = {*VALUE_OF_SIGNAL.values()} - {VALUE_OF_SIGNAL[kept]}

    def plan(title, signals):
        hit = make_hit_with_values({"title": title, **both}, signals=signals)
        actions = plan_updates([[hit]], builder, IngestTally(), lambda _: None)
        return [action["_source"]["doc"]["anthem"] for action in actions]

    assert plan("red shoe", MODEL_SIGNALS) == []
    (changed,) = plan("blue shoe", MODEL_SIGNALS)
    assert (changed.keys(), changed[other]) == ({"vector", "trigrams", "model", "text_hash"}, None)
    (completed,) = plan("red shoe", {*MODEL_SIGNALS} - {kept})
    assert other not in completed


def test_only_the_values_that_a_bundle_computes_are_chosen(bundle):
    """All signals of the bundle are the default; attention without its graph is refused, with what to do instead."""
    assert choose_signals(bundle) == MODEL_SIGNALS == choose_signals(bundle, ["attention", "containment"])
    assert choose_signals(bundle, ["attention"]) == ("attention",)
    without = SimpleNamespace(has_attention=False, path="bundles/plain")
    assert choose_signals(without) == ("containment",)
    with pytest.raises(BundleError, match=r"bundles/plain.*attention.*--signals containment"):
        choose_signals(without, ["attention", "containment"])


def test_graphs_need_vectors():
    """`--ann` with trigrams alone is refused before anything is sent."""
    result = CliRunner().invoke(ingest, ["products", "--ann", "--signals", "attention", "--url", "http://127.0.0.1:9"])
    assert (result.exit_code, "--signals attention" in result.output) == (2, True)


@given(st.integers(0, 2000), st.sampled_from("aü€𝄞"))
def test_an_id_is_valid_up_to_512_bytes(length, letter):
    """Ids are measured in bytes of UTF-8, as OpenSearch does."""
    assert (invalid_id_reason(letter * length) is None) == (0 < len((letter * length).encode()) <= 512)


def test_a_failure_is_printed_on_one_harmless_line():
    """Control characters in an id or a reason do not reach the terminal."""
    assert str(IngestFailure("a\x1b[2J", "line\nbreak\ud800")) == "a[2J: line break"


@settings(max_examples=30)
@given(st.lists(st.sampled_from(["red shoe", "?!", "sofa"]), max_size=20))
def test_every_loaded_product_is_written(encoder, titles):
    """Loading writes every product in order, those with words with current values and the others without any."""
    builder, tally = ValueBuilder(encoder, MODEL_SIGNALS), IngestTally()
    products = [ProductDocument(str(number), {"title": title}) for number, title in enumerate(titles)]
    actions = list(plan_loads(products, builder, tally, EMPTY_INDEX, lambda _: None))
    assert [action["_id"] for action in actions] == [product.id for product in products]
    for action, title in zip(actions, titles, strict=True):
        hit = make_hit_with_values(action["_source"])
        assert builder.is_current(hit, title) == (title != "?!")
        document = ProductDocument(action["_id"], {"title": title})
        assert is_unchanged(hit, document, FIELDS, builder.model_id, builder.split_words(title), MODEL_SIGNALS)
        tally.count_written(action["_id"])
    assert (tally.empty, tally.written + tally.empty) == (titles.count("?!"), len(titles))


def test_loading_reads_ahead_no_further_than_a_page(encoder):
    """Products are read as they are written: memory does not grow with the file."""
    read = []
    endless = (read.append(number) or ProductDocument(str(number), {"title": "sofa"}) for number in itertools.count())
    next(plan_loads(endless, ValueBuilder(encoder, MODEL_SIGNALS), IngestTally(), EMPTY_INDEX, lambda _: None))
    assert len(read) == 500


@pytest.mark.parametrize("status", [400, 404, 409, 413, 429, 503, "TIMEOUT"])
@pytest.mark.parametrize("retry_statuses", [CHANGED_STATUSES | BUSY_STATUSES, CHANGED_STATUSES, frozenset()])
def test_a_refused_product_is_retried_or_counted(status, retry_statuses):
    """A product that the cluster refuses is kept for a retry if its status allows one, else counted as failed."""
    tally = IngestTally()
    item = {"_id": "1", "status": status, "error": {"type": "any", "reason": "because"}}
    _count_refusal(item, tally, retry_statuses)
    is_retried = status in retry_statuses
    assert tally.retry_ids == (["1"] if is_retried else [])
    assert tally.failures == ([] if is_retried else [IngestFailure("1", "because")])


@pytest.mark.parametrize("status", [401, 403, "N/A"])
def test_a_cluster_that_is_gone_ends_the_run(status):
    """If a whole request fails and the next one would fail too, ingest stops instead of failing every product."""
    item = {"_id": "1", "status": status, "error": "no", "exception": TransportError(status, "no")}
    with pytest.raises(TransportError):
        _count_refusal(item, IngestTally(), CHANGED_STATUSES | BUSY_STATUSES)


def test_a_cluster_that_does_not_answer_is_an_error_in_words(encoder):
    """A cluster that does not answer is named as the cause in the error."""
    with pytest.raises(ClusterError, match="does not answer"), connect("http://127.0.0.1:9") as client:
        survey_index(client, "products", encoder.bundle)


def test_a_field_that_no_corpus_has_is_refused(encoder):
    """A misspelled field of a corpus is refused before anything is sent, rather than loaded without values."""
    with pytest.raises(DataError, match="titel"), connect("http://127.0.0.1:9") as client:
        load_products(client, "products", [], encoder, text_fields=["title", "titel"])
    check_beir_fields(["title", "text", "metadata.brand.name"])


def test_sigterm_interrupts_only_while_following():
    """SIGTERM raises KeyboardInterrupt inside the block; the handler from before is restored after it."""
    received = []
    before = signal.signal(signal.SIGTERM, lambda *_: received.append("before"))
    try:
        with pytest.raises(KeyboardInterrupt), _sigterm_as_interrupt():
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == ["before"]


def test_help_has_an_example():
    """The help of the command shows how to call it."""
    result = CliRunner().invoke(ingest, ["--help"])
    assert result.exit_code == 0
    assert "anthem ingest products --corpus corpus.jsonl.gz" in result.output
