"""Checks of `anthem doctor` on values, histories and trial searches, without a cluster."""

from base64 import b64decode, b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anthem_core.encoding.stored_vectors import pack_points
from anthem_core.encoding.title_entities import TitleEntities
from anthem_core.geometry.lorentz import expmap0
from anthem_core.opensearch.schema import MODEL_SIGNALS, ModelFields
from anthem_doctor.checks.coverage import check_coverage, check_coverage_loss
from anthem_doctor.checks.searches import check_searches, find_lost_hits
from anthem_doctor.checks.values import check_points, check_texts, check_trigrams
from anthem_doctor.facts import TrialSearch, UnavailableFact, ValueCounts, ValueFacts
from anthem_doctor.findings import DoctorTarget
from anthem_doctor.history import CoverageRun, append_run, default_history_file, loss_per_day, read_runs
from anthem_doctor.probe import ScriptModes, find_skipped_modes
from anthem_ingest.encode import ValueBuilder
from anthem_plugin.modes import FILTER_MATCH_LIMIT

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
LEVELS = ("ok", "warning", "fault")


@pytest.fixture(scope="module")
def target(bundle):
    """The index `products`, examined for the bundle `general`."""
    return DoctorTarget("products", bundle)


def worst_level(findings):
    """The worst level of some findings."""
    return max((finding.level for finding in findings), key=LEVELS.index, default="ok")


def hits(*titles):
    """Products as hits of a search."""
    return [{"_id": str(number), "_source": {"title": title}} for number, title in enumerate(titles)]


@given(st.lists(st.integers(0, 50), min_size=4, max_size=4).map(sorted), st.booleans(), st.sampled_from(MODEL_SIGNALS))
def test_coverage(bundle, numbers, wordless, signal):
    """All is ok if every product with words has all values of this model; if none has any, that is a fault."""
    without_signal, of_model, with_values, products = numbers
    sample = hits("?!" if wordless else "tv") if with_values < products else []
    counts = ValueCounts(products, with_values, of_model, {signal: without_signal})
    (finding,) = check_coverage(DoctorTarget("products", bundle), "products", counts, sample)
    lacking = with_values > of_model or (with_values < products and not wordless)
    assert finding.level == ("ok" if not (lacking or without_signal) else "warning" if of_model else "fault")
    keeps_other_values = "--beside" in finding.command
    assert keeps_other_values == (lacking and with_values > 0 and not of_model)
    noun = {"containment": "a vector", "attention": "trigrams"}[signal]
    assert (f"{without_signal} of these without {noun}" in finding.found) == bool(without_signal)


@pytest.mark.parametrize(("of_model", "level"), [(21, "warning"), (60, "ok")])
def test_most_products_without_a_title_are_a_warning(bundle, of_model, level):
    """Where most products have no text at all in the fields, something was loaded wrongly, and the remedy is named."""
    counts = ValueCounts(100, of_model, of_model, {})
    target = DoctorTarget("products", bundle)
    (finding,) = check_coverage(target, "products", counts, [{"_id": "1", "_source": {"price": 4}}])
    assert finding.level == level
    assert ("--on-duplicate merge" in finding.expected) == (level == "warning")


def test_counts_of_indices_add_up():
    """Counts of several indices are added, also those that only one of them has."""
    total = ValueCounts(5, 4, 3, {"attention": 2}) + ValueCounts(1, 1, 1, {"containment": 1, "attention": 1})
    assert total == ValueCounts(6, 5, 4, {"containment": 1, "attention": 3})


@pytest.fixture(scope="module")
def builder(encoder):
    """The builder that ingest uses."""
    return ValueBuilder(encoder, MODEL_SIGNALS)


@pytest.fixture(scope="module")
def sample(builder):
    """Products with the values that ingest gives them."""
    products = hits("red fire tv", "blue lamp", "shoe")
    for hit, values in zip(products, builder.build([hit["_source"]["title"] for hit in products]), strict=True):
        hit["_source"] |= values
        hit["matched_queries"] = ["anthem.vector", "anthem.trigrams"]
    return products


def with_change(sample, number, **stored):
    """The sample with other stored values for one product."""
    source = sample[number]["_source"]
    changed = sample[number] | {"_source": source | {"anthem": source["anthem"] | stored}}
    return [*sample[:number], changed, *sample[number + 1 :]]


def test_a_point_beyond_the_radius_is_found(target, builder, sample):
    """A vector outside the bundle's radius is a fault, although its text has changed; one at the radius is none."""
    tangent = np.full(target.bundle.dimension, target.bundle.dimension**-0.5)
    near = replace(target, bundle=replace(target.bundle, radius=2.0, vector_step=2**-7))
    samples = [
        with_change(sample, 0, vector=pack_points(expmap0(radius * tangent), 2**-7).tolist(), text_hash="x")
        for radius in (2.0, 2.1)
    ]
    findings = [list(check_points(near, "products", hits, builder)) for hits in samples]
    assert [finding.level for (finding,) in findings] == ["ok", "fault"]


@pytest.mark.parametrize(
    "spoil",
    [lambda vector, _: (np.array(vector) / np.linalg.norm(vector)).tolist(), lambda _, dimension: [1] * dimension,
     lambda vector, _: [vector[0] + 2, *vector[1:]], lambda vector, _: [*vector, 0], lambda *_: None],
    ids=["normalised", "another point", "changed", "too long", "missing"],
)  # fmt: skip
@pytest.mark.parametrize("number", [0, 2])
def test_one_bad_vector_is_found(target, builder, sample, spoil, number):
    """Valid points are ok; a vector that is normalised, of another text, changed, too long or missing is a fault."""
    vector = spoil(sample[number]["_source"]["anthem"]["vector"], target.bundle.dimension)
    bad = with_change(sample, number, vector=vector)
    assert worst_level(check_points(target, "products", sample, builder)) == "ok"
    assert worst_level(check_points(target, "products", bad, builder)) == "fault"


def pack(*entities):
    """Trigrams of a product as `_source` holds them, from ids and weights."""
    ids, weights = np.array(entities, np.int64).T
    return b64encode(TitleEntities(ids, weights, np.array([len(entities)])).pack()[0]).decode()


@pytest.mark.parametrize(
    "spoil",
    [lambda _: "not base64!", lambda _: "", lambda _: None, lambda stored: stored[:-4],
     lambda stored: stored + pack((7, 9)), lambda stored: pack((1, 2)) + stored[4:]],
    ids=["no base64", "empty", "missing", "too short", "too long", "another trigram"],
)  # fmt: skip
@pytest.mark.parametrize("number", [0, 2])
def test_one_bad_trigram_is_found(target, builder, sample, spoil, number):
    """The trigrams that this bundle computes are ok; any other bytes are a fault that names a product."""
    (healthy,) = check_trigrams(target, "products", sample, builder)
    assert (healthy.level, "3 with trigrams" in healthy.found) == ("ok", True)
    bad = with_change(sample, number, trigrams=spoil(sample[number]["_source"]["anthem"]["trigrams"]))
    findings = list(check_trigrams(target, "products", bad, builder))
    assert worst_level(findings) == "fault"
    assert any(f"such as {number}" in finding.found for finding in findings)


@pytest.mark.parametrize(("change", "level"), [(0, "ok"), (1, "ok"), (2, "fault")])
def test_a_weight_may_be_rounded_differently(target, builder, sample, change, level):
    """A weight that differs by 1 is the same weight on another processor; one that differs by more is a fault."""
    stored = TitleEntities.unpack([b64decode(sample[0]["_source"]["anthem"]["trigrams"])])
    weights = stored.weights.copy()
    weights[weights.argmax()] -= change
    changed = with_change(sample, 0, trigrams=pack(*zip(stored.ids, weights, strict=True)))
    (finding,) = check_trigrams(target, "products", changed, builder)
    assert finding.level == level


def test_trigrams_of_a_changed_text_are_not_compared(target, builder, sample):
    """Products whose text changed, or that have no trigrams in the index, say nothing about the trigrams of others."""
    changed = with_change(sample, 0, trigrams=pack((1, 2)), text_hash="x")
    (finding,) = check_trigrams(target, "products", changed, builder)
    assert (finding.level, "2 with trigrams of the current text" in finding.found) == ("ok", True)
    vectors = [hit | {"matched_queries": ["anthem.vector"]} for hit in sample]
    assert list(check_trigrams(target, "products", vectors, builder)) == []
    trigrams = [hit | {"matched_queries": ["anthem.trigrams"]} for hit in sample]
    assert list(check_points(target, "products", trigrams, builder)) == []


def test_a_changed_text_is_found(target, sample):
    """A changed text is a warning that names a product; if all changed, the warning asks for the fields."""
    assert worst_level(check_texts(target, "products", sample, ModelFields())) == "ok"
    (finding,) = check_texts(target, "products", with_change(sample, 1, text_hash="0" * 16), ModelFields())
    assert (finding.level, "such as 1" in finding.found, "--field" in finding.expected) == ("warning", True, False)
    two_fields = replace(target, text_fields=("title", "text"))
    (finding,) = check_texts(two_fields, "products", with_change(sample, 1), ModelFields())
    assert finding.level == "ok", "a field without text adds nothing"
    (finding,) = check_texts(replace(target, text_fields=("name",)), "products", sample, ModelFields())
    assert "--field" in finding.expected


coverage_runs = st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 100), st.integers(0, 100)), max_size=8).map(
    lambda rows: [
        CoverageRun(NOON + timedelta(seconds=seconds), products, min(products, with_values))
        for seconds, products, with_values in sorted(rows)
    ]
)


@given(coverage_runs, coverage_runs, st.sampled_from(["", "{", "[]", '{"time": 1}', "null\x00"]))
def test_a_history_is_read_as_it_was_written(tmp_path_factory, runs, other_runs, damaged_line):
    """Runs keep their order, runs of another model are not returned, and damaged lines are skipped."""
    file = tmp_path_factory.mktemp("history") / "deep" / "doctor.jsonl"
    key, other_key = {"index": "products", "model": "a"}, {"index": "products", "model": "b"}
    assert read_runs(file, key) == []
    for number in range(max(len(runs), len(other_runs))):
        for run_key, series in ((key, runs), (other_key, other_runs)):
            for run in series[number : number + 1]:
                append_run(file, run_key, run)
        with file.open("a") as lines:
            lines.write(damaged_line + "\n")
    assert read_runs(file, key) == runs
    assert read_runs(file, other_key) == other_runs


@pytest.mark.parametrize("content", ["notes\n", '{"_id": "1"}\n{"_id": "2"}\n', "[]", "\n"])
def test_another_file_is_no_history(tmp_path, content):
    """A file with lines, none of which is a run, is refused and stays as it is."""
    (tmp_path / "notes.txt").write_text(content)
    with pytest.raises(OSError, match="no line of the file is a run"):
        append_run(tmp_path / "notes.txt", {}, CoverageRun(NOON, 2, 1))
    assert (tmp_path / "notes.txt").read_text() == content


def test_a_history_goes_on_after_a_crash(tmp_path):
    """A run is added to an empty file, and on a line of its own after a line that was cut off."""
    file, run = tmp_path / "history", CoverageRun(NOON, 2, 1)
    key = {"index": "products"}
    file.touch()
    append_run(file, key, run)
    file.write_text(file.read_text() + '{"time": ')
    append_run(file, key, run)
    assert read_runs(file, key) == [run, run]


@given(coverage_runs)
def test_loss_per_day(runs):
    """The loss is known from an hour on, never negative, 0 if coverage never falls, and otherwise the sum of falls."""
    lost = loss_per_day(runs)
    if not runs or runs[-1].time - runs[0].time < timedelta(hours=1):
        assert lost is None
        return
    falls = [max(0, earlier.coverage - later.coverage) for earlier, later in pairwise(runs)]
    days = (runs[-1].time - runs[0].time).total_seconds() / 86400
    assert lost == pytest.approx(sum(falls) / days)
    assert (lost > 0) == any(falls)
    half_as_fast = [replace(run, time=NOON + 2 * (run.time - NOON)) for run in runs]
    assert loss_per_day(half_as_fast) == pytest.approx(lost / 2)


def test_a_loss_is_a_warning(target, tmp_path):
    """A first run is ok; a fall of coverage is a warning with the command that follows the feed."""
    earlier, latest = CoverageRun(NOON - timedelta(days=2), 100, 100), CoverageRun(NOON, 100, 90)
    (first,) = check_coverage_loss(target, [latest], tmp_path)
    assert (first.level, "10 products" in first.found) == ("ok", True)
    (fallen,) = check_coverage_loss(target, [earlier, latest], tmp_path)
    assert (fallen.level, "5.00% of the products lose their values per day" in fallen.found) == ("warning", True)
    assert fallen.command == "anthem ingest products --follow --bundle general"
    (risen,) = check_coverage_loss(target, [replace(earlier, with_values=80), latest], tmp_path)
    assert risen.level == "ok"


def test_the_default_history_file(monkeypatch, tmp_path):
    """`XDG_STATE_HOME` is used if it is set, otherwise the usual folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_history_file() == tmp_path / "anthem" / "doctor.jsonl"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_history_file() == tmp_path / ".local" / "state" / "anthem" / "doctor.jsonl"


def response(ids, total=None, shards=1, failed=0, **extra):
    """A search response with these hits."""
    hits = [{"_index": "products", "_id": product} for product in ids]
    total = {"value": len(ids) if total is None else total}
    return {"hits": {"hits": hits, "total": total}, "_shards": {"total": shards, "failed": failed}, "took": 1, **extra}


@pytest.mark.parametrize(
    ("mode", "reranked", "shards", "ok"),
    [("cluster", response("cba"), 1, True), ("cluster", response("abd"), 1, False),
     ("cluster", response("ab"), 1, False), ("cluster", response("cba", failed=1), 1, False),
     ("client", response("cba", 4), 1, False),
     ("client", response("cba", anthem={"reranked": False, "reason": "why"}), 1, False),
     ("filter", response("a"), 1, True), ("filter", response("abcd"), 1, False),
     ("retrieve", response("dabc"), 1, True), ("retrieve", response("a"), 1, False)],
)  # fmt: skip
def test_what_a_mode_loses(target, mode, reranked, shards, ok):
    """Cluster and client mode must match the same products, filter no more, retrieve no fewer."""
    trial = TrialSearch("tv", response("abc", shards=shards), {mode: reranked}, {"retrieve": "no graph"})
    first, second = check_searches(target, trial)
    assert (first.check, first.level) == (f"search {mode}", "ok" if ok else "fault")
    assert (second.level, second.found) == ("ok", "not tried: no graph")


def test_pages_of_several_shards_may_differ():
    """If more products match than the page holds, several shards may return other hits; otherwise they may not."""
    plain = response("abc", 9, shards=2)
    assert find_lost_hits("cluster", plain, response("dbc", 9, shards=2)) is None
    assert find_lost_hits("cluster", response("abc", shards=2), response("dbc", shards=2))
    assert find_lost_hits("cluster", response("abc", 9), response("dbc", 9))


def test_a_single_hit_need_not_be_reranked():
    """A search with one hit is not reranked, which loses nothing; with two hits it is a loss."""
    status = {"anthem": {"reranked": False, "reason": "one hit"}}
    assert find_lost_hits("client", response("a"), response("a", **status)) is None
    assert find_lost_hits("client", response("ab"), response("ab", **status)) == "not reranked: one hit"


@pytest.mark.parametrize(
    ("matches", "has_graphs", "skipped"),
    [(3, True, []), (3, False, ["retrieve"]), (FILTER_MATCH_LIMIT, True, []),
     (FILTER_MATCH_LIMIT + 1, False, ["retrieve", "filter"])],
)  # fmt: skip
def test_skipped_modes(matches, has_graphs, skipped):
    """`retrieve` is skipped without graphs, `filter` if it would run on too many products, both without vectors."""
    assert list(find_skipped_modes(response("abc", matches), MODEL_SIGNALS, ScriptModes(has_graphs))) == skipped
    unknown = UnavailableFact("", "")
    assert "filter" not in find_skipped_modes(unknown, MODEL_SIGNALS, ScriptModes(has_graphs))
    assert list(find_skipped_modes(unknown, ["attention"], ScriptModes(has_graphs))) == ["filter", "retrieve"]
    assert list(find_skipped_modes(unknown, [], ScriptModes(has_graphs))) == ["cluster", "filter", "retrieve"]
    waiting = find_skipped_modes(response("abc", matches), MODEL_SIGNALS, ScriptModes(has_graphs, has_script=False))
    assert sorted(waiting) == ["cluster", "filter", "retrieve"]
    assert {mode for mode, why in waiting.items() if "script is not stored" not in why} == set(skipped)
    refused = find_skipped_modes(unknown, MODEL_SIGNALS, ScriptModes(has_graphs, refusal="why"))
    assert refused == dict.fromkeys(("cluster", "filter", "retrieve"), "the cluster refuses the script (why)")


def test_a_search_that_fails(target):
    """A failing mode is a warning that suggests another; a failing plain search is a fault; no search is a warning."""
    failed = UnavailableFact("POST products/_search", "no")
    trial = TrialSearch("tv", response("a"), {"cluster": failed}, {})
    (finding,) = check_searches(target, trial)
    assert (finding.level, "--rerank client" in finding.command) == ("warning", True)
    assert worst_level(check_searches(target, replace(trial, plain=failed))) == "fault"
    assert worst_level(check_searches(target, None)) == "warning"


@pytest.mark.parametrize(
    ("counts", "sample", "reason"),
    [(ValueCounts(3, 2, 0), [], "the values of 2 products are of another model"),
     (ValueCounts(3, 2, 2), UnavailableFact("POST products/_search", "forbidden"), "forbidden"),
     (ValueCounts(1, 0, 0), [], "no sampled product has letters or digits in 'title'")],
)  # fmt: skip
def test_why_no_product_was_searched_for(target, counts, sample, reason):
    """Without a product to search for, the warning says why none was found."""
    (finding,) = check_searches(target, None, [ValueFacts("products", counts, sample, [])])
    assert (finding.level, finding.found) == ("warning", f"not tried: {reason}")
    (empty,) = check_searches(target, None, [ValueFacts("products", ValueCounts(0, 0, 0), [], [])])
    assert (empty.level, empty.found) == ("ok", "not tried: there are no products yet")


def test_no_hits_are_not_ok(target):
    """A search that finds nothing, although it is for the text of a product, is a warning that names the field."""
    (finding,) = check_searches(target, TrialSearch("tv", response(""), {"client": response("")}, {}))
    assert (finding.check, finding.level, "in title" in finding.found) == ("search", "warning", True)
