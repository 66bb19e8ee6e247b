"""Judgments from UBI clicks: the position bias is taken out, and every form of a log gives the same judgments."""

import gzip
import json
from collections import Counter

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("ir_measures", reason="the extra `demo` is not installed")

from scipy import stats
from small_index import small_index

from anthem_core.errors import DataError
from anthem_evaluation.evaluate_cli import evaluate
from anthem_evaluation.ubi.click_log import build_click_log
from anthem_evaluation.ubi.debias import Impressions, count_clicks, estimate_click_rates, judge_clicks
from anthem_evaluation.ubi.sources import is_ubi_dump, read_ubi_dump, read_ubi_indices

FEW_EXAMPLES = settings(max_examples=5)
CLICK = ("click",)
EXAMINED = 1 / np.arange(1, 11)  # chance that a user looks at a position


def query_entry(number, text, shown):
    """A document of ubi_queries."""
    return {"query_id": f"s{number}", "user_query": text, "query_response_hit_ids": shown, "client_id": "c"}


def event_entry(number, product, action="click", ordinal=None):
    """A document of ubi_events."""
    attributes = {"object": {"object_id": product, "object_id_field": "_id"}}
    if ordinal is not None:
        attributes["position"] = {"ordinal": ordinal}
    return {"query_id": f"s{number}", "action_name": action, "event_attributes": attributes}


def simulate(random, texts=12, searches=150, sorting=0.0):
    """A log whose searches show products in an order that is noisy, and with `sorting` follows relevance.

    A user clicks where he looks and the product is relevant. Returns the relevance, `(texts, 10)`, and the log.
    """
    relevance, queries, events = random.uniform(0.05, 0.95, (texts, 10)), [], []
    for text in range(texts):
        habit = random.permutation(10) - sorting * relevance[text]
        for number in range(text * searches, (text + 1) * searches):
            shown = np.argsort(habit + random.normal(0, 2, 10))
            clicked = random.random(10) < EXAMINED * relevance[text, shown]
            queries.append(query_entry(number, f"t{text}", [str(product) for product in shown]))
            events += [event_entry(number, str(product)) for product in shown[clicked]]
    return relevance, build_click_log(queries, events)


def kendall(relevance, values):
    """Mean rank correlation with the relevance over all queries."""
    return np.mean([stats.kendalltau(*pair).statistic for pair in zip(relevance, values, strict=True)])


@FEW_EXAMPLES
@given(st.integers(0, 10**6))
def test_debiased_clicks_are_nearer_to_relevance_than_click_rates(seed):
    """With a known position bias, the corrected ratio orders products more like their relevance than the click rate."""
    relevance, log = simulate(np.random.default_rng(seed))
    counts = count_clicks(log.searches)
    products = [[counts[f"t{text}"][str(n)] for n in range(10)] for text in range(len(relevance))]
    debiased = kendall(relevance, [[each.ratio for each in row] for row in products])
    raw = kendall(relevance, [[each.clicks / each.impressions for each in row] for row in products])
    assert debiased > raw + 0.05
    assert debiased > 0.6


@settings(max_examples=3)
@given(st.integers(0, 10**6))
def test_positions_and_relevance_are_told_apart(seed):
    """Where relevant products are first, the rates of positions come nearer to the truth than their plain click rates.

    Plain click rates take the relevance of the first products for the position, so they fall too steeply.
    """
    relevance, log = simulate(np.random.default_rng(seed), sorting=20)
    seen = Impressions.of(log.searches)
    plain, estimated = (estimate_click_rates(seen, rounds) for rounds in (1, 20))
    wrong = [np.abs(np.log(rates / rates[0] / EXAMINED)).mean() for rates in (plain, estimated)]
    assert wrong[1] < 0.7 * wrong[0]
    orders = [
        kendall(relevance, [[row[str(n)].ratio for n in range(10)] for row in counts.values()])
        for counts in (count_clicks(log.searches, rounds) for rounds in (1, 20))
    ]
    assert orders[1] >= orders[0]


@FEW_EXAMPLES
@given(st.integers(0, 10**6))
def test_clicks_are_expected_as_often_as_they_happen(seed):
    """Over a log, the expected clicks add up to the clicks."""
    _, log = simulate(np.random.default_rng(seed), texts=3, searches=50)
    counts = count_clicks(log.searches)
    products = [each for row in counts.values() for each in row.values()]
    clicks = sum(len(search.clicked) for search in log.searches)
    assert sum(each.clicks for each in products) == clicks > 0
    assert sum(each.expected for each in products) == pytest.approx(clicks)


def write_log(folder, queries, events):
    """A dump of two files."""
    for name, entries in (("ubi_queries.ndjson", queries), ("ubi_events.ndjson", events)):
        (folder / name).write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def shop_log():
    """Searches for two queries, each with a product that is clicked wherever it is shown and others that are not."""
    queries, events = [], []
    for number in range(40):
        text, first = (("Fire  TV", "7"), ("tablet", "12"))[number % 2]
        shown = np.roll([first, "3", "5", "9"], number // 2).tolist()
        queries.append(query_entry(number, text, shown))
        events.append(event_entry(number, first))
    return queries, events


def by_text(judged):
    """Grades by the text of the query."""
    return {judged.queries[query]: grades for query, grades in judged.qrels.items()}


def test_products_are_graded_by_their_ratio(shop_log):
    """A product that gets all clicks has grade 3, one that gets none 0; spaces and case do not make a query."""
    assert by_text(judge_clicks(build_click_log(*shop_log))) == {
        "fire tv": {"7": 3, "3": 0, "5": 0, "9": 0},
        "tablet": {"12": 3, "3": 0, "5": 0, "9": 0},
    }


def test_a_product_that_was_seldom_shown_is_unjudged(shop_log):
    """Of products shown fewer times than asked for, clicks say nothing; of none left, the message says what to do."""
    log = build_click_log(*shop_log)
    assert judge_clicks(log, min_impressions=20).judgment_count == 8
    with pytest.raises(DataError, match="shown 21 times or more"):
        judge_clicks(log, min_impressions=21)


def test_every_form_of_a_dump_is_read(shop_log, tmp_path):
    """A folder, one file of both kinds, hits of an export, bulk lines and gzipped files give the same log."""
    queries, events = shop_log
    expected = judge_clicks(build_click_log(queries, events))
    folder = write_log(tmp_path, queries, events)
    lines = [entry for each in [*queries, *events] for entry in ({"index": {"_id": "1"}}, each)]
    hits = [{"_index": "ubi", "_id": "1", "_source": entry} for entry in [*queries, *events]]
    (tmp_path / "bulk.ndjson").write_text("".join(json.dumps(line) + "\n" for line in lines))
    packed = tmp_path / "hits.jsonl.gz"
    packed.write_bytes(gzip.compress("".join(json.dumps(hit) + "\n" for hit in hits).encode()))
    for path in (folder, tmp_path / "bulk.ndjson", packed):
        assert judge_clicks(read_ubi_dump(path, CLICK)) == expected
    assert is_ubi_dump(folder)
    assert is_ubi_dump(packed)
    assert is_ubi_dump(tmp_path / "bulk.ndjson")


def test_one_application_can_be_judged(shop_log):
    """A log of several applications is judged by the searches of the one that is named."""
    queries, events = shop_log
    shared = [{**entry, "application": ("shop", "help")[n % 2]} for n, entry in enumerate(queries)]
    log = build_click_log(shared, events, application="shop")
    assert {search.text for search in log.searches} == {"fire tv"}
    assert log.unused == {"searches of other applications": 20}
    with pytest.raises(DataError, match=r"has 0 searches .* Not used: 40 searches of other"):
        judge_clicks(build_click_log(shared, events, application="shpo"))


def test_ids_may_be_numbers(shop_log):
    """Ids of searches and products that are numbers, 0 included, are those of their texts."""
    queries, events = shop_log
    numbered = [
        [{**entry, "query_id": int(entry["query_id"][1:])} for entry in entries] for entries in (queries, events)
    ]
    assert judge_clicks(build_click_log(*numbered)) == judge_clicks(build_click_log(queries, events))


def test_a_product_without_clicks_is_irrelevant():
    """However few clicks its positions explain, a product that nobody clicked has grade 0."""
    queries = [query_entry(number, "tv", ["1", "2", "3"]) for number in range(30)]
    log = build_click_log(queries, [event_entry(0, "2")])
    assert by_text(judge_clicks(log))["tv"].keys() == {"1", "2", "3"}
    assert [product for product, grade in by_text(judge_clicks(log))["tv"].items() if grade] == ["2"]


def test_impressions_count_instead_of_hits(shop_log):
    """Where a search has impressions, only these products were shown, at positions that start at 0 or 1."""
    queries, _ = shop_log
    for first in (0, 1):
        seen = [event_entry(0, product, "impression", first + place) for place, product in enumerate(("3", "7"))]
        searches = build_click_log(queries, [*seen, event_entry(0, "7")]).searches
        assert [*zip(searches[0].products, searches[0].positions, strict=True)] == [("3", 1), ("7", 2)]
        assert searches[0].clicked == {"7"}
        assert searches[1].products == ("12", "3", "5", "9")
        assert [*searches[1].positions] == [1, 2, 3, 4]


def test_what_cannot_be_used_is_counted(shop_log):
    """Searches without text or hits, events of unknown searches, and clicks on what was not shown are named."""
    queries, events = shop_log
    odd_queries = [{"query_id": "x"}, {"query_id": "y", "user_query": "tv"}, {"user_query": "tv"}]
    odd_events = [event_entry("none", "7"), event_entry(0, "99"), {"action_name": "click"}, event_entry(1, None)]
    places = [None, -1, 1.5, "", "first", "9" * 5000, True, float("inf"), [1]]
    odd_events += [event_entry(2, "3", "impression", place) for place in places]
    log = build_click_log([*queries, *odd_queries, queries[0]], [*events, *odd_events])
    assert len(log.searches) == len(queries)
    assert Counter(log.unused) == Counter(
        {
            "searches without query_id or user_query": 2,
            "searches without hits or impressions": 1,
            "clicks on products that the search did not show": 1,
            "searches with the query_id of an earlier one": 1,
            "clicks or impressions without query_id or object_id": 2,
            "impressions without a position": len(places),
            "searches that have events, but are not logged as queries": 1,
        }
    )


def test_a_log_without_clicks_is_refused(shop_log):
    """The message says how many searches there are and what to check."""
    queries, events = shop_log
    with pytest.raises(DataError, match="has 40 searches that show products, and no click"):
        judge_clicks(build_click_log(queries, events, actions=("purchase",)))


def test_a_line_that_is_no_json_is_named(tmp_path):
    """The message has the file, the line and the form that is expected."""
    path = tmp_path / "log.ndjson"
    path.write_text('{"query_id": "a", "user_query": "tv"}\n{broken\n')
    with pytest.raises(DataError, match=r"log.ndjson, line 2: .* Expected a JSON object per line"):
        read_ubi_dump(path, CLICK)


@pytest.fixture
def ubi_indices(client, shop_log):
    """The log in the indices that UBI names, as dynamic mappings make them."""
    for index, entries in zip(("ubi_queries", "ubi_events"), shop_log, strict=True):
        lines = [line for entry in entries for line in ({"index": {}}, entry)]
        assert not client.bulk(body=lines, index=index, refresh=True)["errors"]
    yield
    client.indices.delete(index="ubi_queries,ubi_events")


@pytest.mark.node
@pytest.mark.usefixtures("ubi_indices")
def test_the_indices_and_a_dump_are_judged_alike(client, encoder, cluster, shop_log, tmp_path):
    """The clicks in the cluster are judged as a dump of them, and `evaluate --ubi` measures by these judgments."""
    dumped, stored = (
        judge_clicks(log)
        for log in (read_ubi_dump(write_log(tmp_path, *shop_log), CLICK), read_ubi_indices(client, CLICK))
    )
    assert by_text(stored) == by_text(dumped)
    with small_index(client, encoder) as index:
        report = CliRunner().invoke(evaluate, [index, "--ubi", "--url", cluster, "--json"])
        neither = CliRunner().invoke(evaluate, [index, "--url", cluster])
    assert json.loads(report.stdout)["queries"] == stored.queries
    assert neither.exit_code == 2
    assert "--ubi" in neither.stderr


@pytest.mark.node
def test_missing_indices_are_named(cluster, client):
    """Without the indices of UBI, the message names them."""
    client.indices.delete(index="ubi_queries,ubi_events", ignore_unavailable=True)
    result = CliRunner().invoke(evaluate, ["any", "--ubi", "--url", cluster])
    assert result.exit_code == 6
    assert "no index ubi_queries" in result.stderr
