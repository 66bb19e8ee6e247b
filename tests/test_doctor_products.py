"""Laws of what `anthem doctor` makes of products, of earlier runs and of trial searches; no cluster is needed."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anthem_core.geometry.lorentz import expmap0
from anthem_core.opensearch.schema import VectorFields
from anthem_doctor.checks import searches as searches_checks
from anthem_doctor.checks import vectors as vectors_checks
from anthem_doctor.checks.vectors import VectorCounts
from anthem_doctor.findings import DoctorTarget, UnavailableFact
from anthem_doctor.history import CoverageRun, append_run, check_loss, default_history_file, loss_per_day, read_runs
from anthem_plugin.modes import FILTER_MATCH_LIMIT

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
LEVELS = ("ok", "warning", "fault")


@pytest.fixture(scope="module")
def asked(bundle):
    """The index `shop`, examined for the bundle that ships."""
    return DoctorTarget("shop", bundle)


def level(findings):
    """The worst level of some findings."""
    return max((found.level for found in findings), key=LEVELS.index, default="ok")


def hits(*titles):
    """Products as a search finds them."""
    return [{"_id": str(number), "_source": {"title": title}} for number, title in enumerate(titles)]


@given(st.lists(st.integers(0, 50), min_size=3, max_size=3).map(sorted), st.booleans())
def test_coverage(bundle, numbers, mute):
    """All is well when each product with words has a vector of this model; not one of them, and it is a fault."""
    mine, pointed, products = numbers
    bare = hits("?!" if mute else "tv") if pointed < products else []
    (found,) = vectors_checks.check_coverage(
        DoctorTarget("shop", bundle), "shop", VectorCounts(products, pointed, mine), bare
    )
    needed = pointed > mine or (pointed < products and not mute)
    assert found.level == ("ok" if not needed else "warning" if mine else "fault")
    assert ("--beside" in found.command) == (needed and pointed > 0 and not mine), "another model's vectors are spared"


@pytest.fixture(scope="module")
def sample(encoder):
    """Products with the vectors that ingest gives them."""
    made = hits("red fire tv", "blue lamp", "shoe")
    for hit, point in zip(made, encoder.products([hit["_source"]["title"] for hit in made]), strict=True):
        hit["_source"] |= VectorFields().document(point, encoder.bundle.model, hit["_source"]["title"])
    return made


def changed(sample, number, **stored):
    """A sample in which one product has something else stored."""
    source = sample[number]["_source"]
    new = sample[number] | {"_source": source | {"anthem": source["anthem"] | stored}}
    return [*sample[:number], new, *sample[number + 1 :]]


def test_a_point_beyond_the_radius_is_found(asked, encoder, sample):
    """A vector on the sheet, but further out than the encoders put any, is a fault though its text differs."""
    far = np.zeros(asked.bundle.dimension)
    far[0] = asked.bundle.radius
    within, beyond = (changed(sample, 0, vector=expmap0(far * by).tolist(), text_hash="x") for by in (1.0, 1.02))
    judged = [
        list(vectors_checks.check_points(asked, "shop", some, VectorFields(), encoder)) for some in (within, beyond)
    ]
    assert [one.level for (one,) in judged] == ["ok", "fault"]


@pytest.mark.parametrize(
    "spoil",
    [lambda vector, _: (np.array(vector) / np.linalg.norm(vector)).tolist(),
     lambda _, dimension: expmap0(np.full(dimension, 0.01)).tolist(),
     lambda _, dimension: expmap0(np.full(dimension, 1.0)).tolist(), lambda *_: None],
    ids=["cosine", "another point", "too far out", "none"],
)  # fmt: skip
@pytest.mark.parametrize("number", [0, 2])
def test_one_bad_vector_is_found(asked, encoder, sample, spoil, number):
    """Sound points are well; one that is normalised, another's, too far out or hidden is a fault."""
    vector = spoil(sample[number]["_source"]["anthem"]["vector"], encoder.bundle.dimension)
    bad = changed(sample, number, vector=vector)
    assert level(vectors_checks.check_points(asked, "shop", sample, VectorFields(), encoder)) == "ok"
    assert level(vectors_checks.check_points(asked, "shop", bad, VectorFields(), encoder)) == "fault"


def test_a_text_that_changed_is_found(asked, sample):
    """A product whose text has another hash is a warning that names it; all of them, and the fields are in doubt."""
    assert level(vectors_checks.check_texts(asked, "shop", sample, VectorFields())) == "ok"
    (one,) = vectors_checks.check_texts(asked, "shop", changed(sample, 1, text_hash="0" * 16), VectorFields())
    assert (one.level, "such as 1" in one.found, "--field" in one.wanted) == ("warning", True, False)
    (every,) = vectors_checks.check_texts(
        replace(asked, fields=("title", "text")), "shop", changed(sample, 1), VectorFields()
    )
    assert every.level == "ok", "a field without text adds nothing"
    (every,) = vectors_checks.check_texts(replace(asked, fields=("name",)), "shop", sample, VectorFields())
    assert "--field" in every.wanted


runs = st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 100), st.integers(0, 100)), max_size=8).map(
    lambda made: [
        CoverageRun(NOW + timedelta(seconds=at), number, min(number, some)) for at, number, some in sorted(made)
    ]
)


@given(runs, runs, st.sampled_from(["", "{", "[]", '{"time": 1}', "null\x00"]))
def test_a_history_is_read_as_it_was_written(tmp_path_factory, mine, others, torn):
    """Runs come back in their order, those of another index or model stay apart, and a torn line costs no other."""
    file = tmp_path_factory.mktemp("history") / "deep" / "doctor.jsonl"
    key, other = {"index": "shop", "model": "a"}, {"index": "shop", "model": "b"}
    assert read_runs(file, key) == []
    for number in range(max(len(mine), len(others))):
        for name, some in ((key, mine), (other, others)):
            for run in some[number : number + 1]:
                append_run(file, name, run)
        with file.open("a") as lines:
            lines.write(torn + "\n")
    assert read_runs(file, key) == mine
    assert read_runs(file, other) == others


@given(runs)
def test_what_is_lost_a_day(some):
    """A loss is told from an hour on; it is never negative, 0 where coverage never falls, and all falls add up."""
    lost = loss_per_day(some)
    if not some or some[-1].time - some[0].time < timedelta(hours=1):
        assert lost is None
        return
    falls = [max(0, before.share - after.share) for before, after in pairwise(some)]
    days = (some[-1].time - some[0].time).total_seconds() / 86400
    assert lost == pytest.approx(sum(falls) / days)
    assert (lost > 0) == any(falls)
    slower = [replace(run, time=NOW + 2 * (run.time - NOW)) for run in some]
    assert loss_per_day(slower) == pytest.approx(lost / 2)


def test_a_loss_is_a_warning(asked, tmp_path):
    """No history is said and no fault; a fall of coverage is a warning that shows how to follow the feed."""
    before, now = CoverageRun(NOW - timedelta(days=2), 100, 100), CoverageRun(NOW, 100, 90)
    (first,) = check_loss(asked, [now], tmp_path)
    assert (first.level, "10 products" in first.found) == ("ok", True)
    (fallen,) = check_loss(asked, [before, now], tmp_path)
    assert (fallen.level, "5.00% of the products a day" in fallen.found) == ("warning", True)
    assert fallen.command == "anthem ingest shop --follow --bundle general"
    (risen,) = check_loss(asked, [replace(before, vectors=80), now], tmp_path)
    assert risen.level == "ok"


def test_the_history_is_where_programs_keep_their_state(monkeypatch, tmp_path):
    """`XDG_STATE_HOME` is taken where it is set, the usual folder else."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_history_file() == tmp_path / "anthem" / "doctor.jsonl"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_history_file() == tmp_path / ".local" / "state" / "anthem" / "doctor.jsonl"


def answer(ids, total=None, shards=1, failed=0, **more):
    """A response with these hits."""
    found = [{"_index": "shop", "_id": product} for product in ids]
    total = {"value": len(ids) if total is None else total}
    return {"hits": {"hits": found, "total": total}, "_shards": {"total": shards, "failed": failed}, "took": 1, **more}


@pytest.mark.parametrize(
    ("mode", "ranked", "shards", "fine"),
    [("cluster", answer("cba"), 1, True), ("cluster", answer("abd"), 1, False), ("cluster", answer("ab"), 1, False),
     ("cluster", answer("cba", failed=1), 1, False), ("client", answer("cba", 4), 1, False),
     ("client", answer("cba", anthem={"reranked": False, "reason": "why"}), 1, False),
     ("filter", answer("a"), 1, True), ("filter", answer("abcd"), 1, False),
     ("retrieve", answer("dabc"), 1, True), ("retrieve", answer("a"), 1, False)],
)  # fmt: skip
def test_what_a_mode_loses(asked, mode, ranked, shards, fine):
    """Cluster and client find the same, a filter no more, retrieve no less; anything else is a fault."""
    trial = searches_checks.TrialSearch("tv", answer("abc", shards=shards), {mode: ranked}, {"retrieve": "no graph"})
    first, second = searches_checks.check_searches(asked, trial)
    assert (first.check, first.level) == (f"search {mode}", "ok" if fine else "fault")
    assert (second.level, second.found) == ("ok", "not tried: no graph")


def test_pages_of_several_shards_may_differ():
    """Where more match than the page holds, several shards may show others; where all are shown they may not."""
    long = answer("abc", 9, shards=2)
    assert searches_checks.lost_hits("cluster", long, answer("dbc", 9, shards=2)) is None
    assert searches_checks.lost_hits("cluster", answer("abc", shards=2), answer("dbc", shards=2))
    assert searches_checks.lost_hits("cluster", answer("abc", 9), answer("dbc", 9))


@pytest.mark.parametrize(
    ("found", "graphs", "untried"),
    [
        (3, True, []),
        (3, False, ["retrieve"]),
        (FILTER_MATCH_LIMIT, True, []),
        (FILTER_MATCH_LIMIT + 1, False, ["retrieve", "filter"]),
    ],
)
def test_what_is_not_tried(found, graphs, untried):
    """Nothing is retrieved without graphs, and nothing filtered where the script would run on too much."""
    assert list(searches_checks.skipped_modes(answer("abc", found), graphs=graphs)) == untried
    assert "filter" not in searches_checks.skipped_modes(UnavailableFact("", ""), graphs=graphs)


def test_a_search_that_fails(asked):
    """A mode that fails is a warning with another mode, a plain search that fails is a fault, none at all a warning."""
    failed = UnavailableFact("POST shop/_search", "no")
    trial = searches_checks.TrialSearch("tv", answer("a"), {"cluster": failed}, {})
    (found,) = searches_checks.check_searches(asked, trial)
    assert (found.level, "--rerank client" in found.command) == ("warning", True)
    assert level(searches_checks.check_searches(asked, replace(trial, plain=failed))) == "fault"
    assert level(searches_checks.check_searches(asked, None)) == "warning"
