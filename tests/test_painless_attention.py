"""The Painless script on a real node computes the attention score and the fused score as numpy does."""

import math
from base64 import b64encode
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from script_index import (
    FUSION,
    LEXICAL,
    SCORING,
    D,
    create_script_index,
    lifted,
    product,
    random_points,
    random_query,
    random_table,
    random_titles,
    script_scores,
    script_values,
    store,
)

from anthem_core.encoding.packed_titles import MAX_STORED_ID
from anthem_core.encoding.title_entities import TitleEntities
from anthem_core.fusion import MAX_FACTOR_RATIO, FusionWeights, fuse, model_shift
from anthem_plugin.scoring import painless
from anthem_plugin.scoring.params import ATTENTION, BOTH, CONTAINMENT, to_float64
from anthem_plugin.scoring.window import rank_descending, score_attention

ATTENTION_SCORE = "return attentionScore(storedTrigrams(doc, params.trigrams), params.tables);"
IDS = np.array([*range(250), *range(8000, 8050), MAX_STORED_ID])
FLOAT32_ROUNDING = 1e-6  # relative

seeds = st.integers(0, 2**32 - 1)
tables = st.builds(
    lambda seed, trigrams, rows: random_table(np.random.default_rng(seed), trigrams, rows, IDS),
    seeds,
    st.integers(1, 48),
    st.integers(1, 192),
)
fusions = st.builds(
    FusionWeights,
    lexical_offset=st.floats(0.01, 100),
    containment=st.floats(0, 5),
    median_distance=st.floats(0, 5),
    attention=st.floats(0, 5),
    median_attention=st.floats(-5, 2),
)


class Products:
    """Random products on a node: 150 points, packed titles and lexical scores from 0 to 1e9."""

    def __init__(self, client, index, rng=None):
        rng = rng or np.random.default_rng(31)
        self.points = random_points(rng, 150)
        self.packed = random_titles(rng, 150, IDS)
        self.titles = TitleEntities.unpack(self.packed)
        self.lexical = np.concatenate([[0.0], 10.0 ** rng.uniform(-3, 9, 149)]).astype(np.float32)
        values = zip(self.points, self.packed, self.lexical.tolist(), strict=True)
        create_script_index(client, index)
        store(client, index, [product(point, title, lexical=lexical) for point, title, lexical in values])
        self.values = partial(script_values, client, index)
        self.scores = partial(script_scores, client, index, query=LEXICAL)

    def distance(self, region):
        """Distance of every product in numpy."""
        return to_float64(region).distance(lifted(self.points), SCORING.gamma)


@pytest.fixture(scope="module")
def products(client):
    """Random products, in an index that the tests only read."""
    name = "test-painless-attention"
    client.indices.delete(index=name, ignore_unavailable=True)
    yield Products(client, name)
    client.indices.delete(index=name)


@pytest.fixture
def index(client, index):
    """Name of an index for products, on a node where the script is stored."""
    create_script_index(client, index)
    return index


def with_fusion(fusion, signals=BOTH):
    """Scoring with the same weights for every set of signals, over an index with these."""
    return replace(SCORING, fusions=dict.fromkeys((CONTAINMENT, ATTENTION, BOTH), fusion), signals=signals)


def some_table():
    """A table of ordinary size."""
    return random_table(np.random.default_rng(32), 20, 80, IDS)


def some_values(seed):
    """A point and packed trigrams."""
    rng = np.random.default_rng(seed)
    return random_points(rng, 3)[2], random_titles(rng, 1, IDS)[0]


@pytest.mark.node
@given(st.lists(tables, min_size=1, max_size=3))
@settings(max_examples=40)
def test_attention_equals_numpy(products, phrases):
    """Painless and numpy agree on the attention score to 1e-9; of several phrases, the highest score counts."""
    params = painless.build_score_script(None, SCORING, phrases)["params"]
    computed = np.array(products.values(ATTENTION_SCORE, params))[:, 0]
    np.testing.assert_allclose(computed, score_attention(phrases, products.titles), rtol=1e-9, atol=1e-9)


def spoiled_titles(rng, count):
    """Bytes of titles of which some were cut, lengthened or changed, and short random bytes."""
    for title in random_titles(rng, count, IDS):
        kind, at = rng.integers(5), rng.integers(len(title))
        changed = title[:at] + bytes([rng.integers(256)]) + title[at + 1 :]
        noise = rng.integers(0, 256, rng.integers(0, 9), np.uint8).tobytes()
        yield (title[:at], title + noise, changed, noise, bytes([2, 0x5F, *noise]))[kind]


@pytest.mark.node
def test_any_bytes_score_as_in_numpy(client, index):
    """Bytes that numpy does not read as a title have no score in the script, all others the same score."""
    titles = [b"\xff", b"\x80\1", b"\1\5\x80\x80\x80\1", *spoiled_titles(np.random.default_rng(40), 500)]
    store(client, index, [product(title=title) for title in titles])
    params = painless.build_score_script(None, SCORING, [some_table()])["params"]
    computed = [float(value) for (value,) in script_values(client, index, ATTENTION_SCORE, params)]
    expected = some_table().score(TitleEntities.unpack(titles, skip_malformed=True))
    assert 50 < np.isnan(expected).sum() < 450
    np.testing.assert_allclose(computed, expected, rtol=1e-9)


@pytest.mark.node
@given(seeds, tables, fusions, st.sampled_from([CONTAINMENT, ATTENTION, BOTH]))
@settings(max_examples=40)
def test_the_score_is_the_fused_score(products, seed, table, fusion, signals):
    """Painless and numpy agree on the score to 1e-5 and rank alike, for every set of signals and lexical score."""
    region = random_query(np.random.default_rng(seed), 2)
    script = painless.build_score_script(region, with_fusion(fusion, signals), [table])
    distance = products.distance(region) if signals >= CONTAINMENT else None
    attention = table.score(products.titles) if signals >= ATTENTION else None
    expected = fuse(products.lexical, model_shift(distance, attention, fusion), fusion)
    scores = products.scores(script=script)
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    ranked = expected[rank_descending(scores)]
    assert np.all(ranked[1:] <= ranked[:-1] * (1 + FLOAT32_ROUNDING))


@pytest.mark.node
def test_the_score_grows_with_the_lexical_score(client, index):
    """Among products alike to the model the lexical score alone decides, up to 1e30: no two of them tie."""
    (point,), (title,) = (
        random_points(np.random.default_rng(33), 3)[2:],
        random_titles(np.random.default_rng(34), 1, IDS),
    )
    lexical = np.concatenate([[0.0], np.geomspace(1e-2, 1e30, 400)])
    store(client, index, [product(point, title, lexical=score) for score in lexical.tolist()])
    region, table = random_query(np.random.default_rng(34), 2), some_table()
    for fusion in (FusionWeights(0.1), FUSION, FusionWeights(20.0, 50.0, 0.0, 50.0, 0.0)):
        script = painless.build_score_script(region, with_fusion(fusion), [table])
        assert np.all(np.diff(script_scores(client, index, script, LEXICAL)) > 0)


@pytest.mark.node
@given(seeds, tables, st.floats(0, 1e6), st.floats(0, 1e6))
@settings(max_examples=20)
def test_the_factor_is_bounded(products, seed, table, containment, attention):
    """Whatever the model says, the score is `s + h` times a factor between 1/√F and √F."""
    fusion = FusionWeights(0.5, containment, 1.0, attention, -1.0)
    region = random_query(np.random.default_rng(seed), 2)
    scores = products.scores(script=painless.build_score_script(region, with_fusion(fusion), [table]))
    factors = scores / (products.lexical + 0.5)
    bound = math.sqrt(MAX_FACTOR_RATIO) * (1 + FLOAT32_ROUNDING)
    assert np.all((factors <= bound) & (factors >= 1 / bound))


def odd_products(point, title):
    """Products without usable values: none at all, no model or another, or bytes and lengths that are none of ours."""
    good = product(point, title)["anthem"]
    bare = {"title": "fire tv", "lexical": 1.0}
    yield bare
    yield bare | {"anthem": {"vector": good["vector"], "trigrams": good["trigrams"]}}
    yield bare | {"anthem": {"model": SCORING.model_id}}
    yield product(point, title, model="fedcba9876543210")
    for packed in (b"", b"\x01", title + b"\x01", title[:-1], title[:2] + b"\xff"):
        yield bare | {"anthem": {"model": SCORING.model_id, "trigrams": b64encode(packed).decode()}}


@pytest.mark.node
@pytest.mark.parametrize("signals", [CONTAINMENT, ATTENTION, BOTH])
def test_products_without_usable_values_get_the_medians(client, index, signals):
    """A product without values of this model is scored as one with the medians: its lexical score plus the offset."""
    point, title = some_values(35)
    odd = list(odd_products(point, title))
    store(client, index, [*odd, product(point, title)])
    query = random_query(np.random.default_rng(36), 3)
    script = painless.build_score_script(query, with_fusion(FUSION, signals), [some_table()])
    scores = script_scores(client, index, script, LEXICAL)
    np.testing.assert_allclose(scores[:-1], 1 + FUSION.lexical_offset, rtol=1e-6)
    assert abs(scores[-1] - 1 - FUSION.lexical_offset) > 1e-3


@pytest.mark.node
def test_a_product_with_one_signal_is_scored_by_that_one(client, index):
    """A missing signal counts as its median, whatever the other says."""
    point, title = some_values(37)
    store(client, index, [product(point), product(title=title), product(point, title)])
    region, table = random_query(np.random.default_rng(38), 3), some_table()
    distance = np.array([to_float64(region).distance(lifted(point[None]), SCORING.gamma)[0], np.nan, np.nan])
    distance[2] = distance[0]
    attention = np.array([np.nan, *[table.score(TitleEntities.unpack([title]))[0]] * 2])
    scores = script_scores(client, index, painless.build_score_script(region, SCORING, [table]), LEXICAL)
    np.testing.assert_allclose(scores, fuse(np.ones(3), model_shift(distance, attention, FUSION), FUSION), rtol=1e-6)
    assert len(set(scores)) == 3


OTHER_TYPES = [
    {},
    {"model": {"type": "keyword"}},
    {"model": {"type": "keyword"}, "vector": {"type": "float"}, "trigrams": {"type": "keyword"}},
    {"model": {"type": "keyword"}, "vector": {"type": "text"}, "trigrams": {"type": "text"}},
    {"model": {"type": "keyword"}, "trigrams": {"type": "binary"}},
    {"model": {"type": "keyword"}, "vector": {"type": "knn_vector", "dimension": 4}},
    {"model": {"type": "text"}, "trigrams": {"type": "binary", "doc_values": True}},
    {"model": {"type": "long"}, "trigrams": {"type": "binary", "doc_values": True}},
    {"trigrams": {"type": "binary", "doc_values": True}},
]


@pytest.mark.node
def test_an_infinite_score_counts_as_the_median(client, index):
    """A score that is not finite, as from a table that divides by 0, counts as the median, as in numpy."""
    point, title = some_values(38)
    store(client, index, [product(point, title)])
    table = random_table(np.random.default_rng(32), 1, 1, np.array([MAX_STORED_ID - 1]))
    table.answered[-1], table.answered_cells[-1] = 0.0, -1.0
    script = painless.build_score_script(None, SCORING, [table])
    assert script_values(client, index, ATTENTION_SCORE, script["params"]) == [["-Infinity"]]
    assert script_scores(client, index, script)[0] == pytest.approx(1 + FUSION.lexical_offset)


@pytest.mark.node
def test_indices_with_other_types_get_the_medians(client, index):
    """Of several indices, those whose fields are missing or have other types get the medians; no shard fails."""
    point, title = some_values(39)
    number = {"float": 1.5, "text": "1.5", "knn_vector": [1.0, 0.0, 0.0, 0.0]}
    for position, types in enumerate(OTHER_TYPES, start=1):
        model = "7" if types.get("model") == {"type": "long"} else SCORING.model_id
        stored = {"model": model, "trigrams": b64encode(title).decode()}
        vector = {"vector": number[types["vector"]["type"]]} if "vector" in types else {}
        mapping = {"dynamic": False, "properties": {"anthem": {"dynamic": False, "properties": types}}}
        client.indices.create(index=f"{index}-{position}", body={"mappings": mapping})
        client.index(index=f"{index}-{position}", id=str(position), body={"anthem": stored | vector})
    client.index(index=index, id="0", body=product(point, title))
    client.indices.refresh(index=f"{index}*")
    script = painless.build_score_script(random_query(np.random.default_rng(40), 3), SCORING, [some_table()])
    scores = script_scores(client, f"{index}*", script)
    assert len(scores) == len(OTHER_TYPES) + 1
    np.testing.assert_allclose(scores[1:], 1 + FUSION.lexical_offset, rtol=1e-6)
    assert abs(scores[0] - 1 - FUSION.lexical_offset) > 1e-3


EXTREMES = [
    {"containment": 1e308, "attention": 1e308},
    {"containment": -1e308, "attention": 1e308},
    {"median_distance": 1e308, "median_attention": -1e308},
    {"lexical_offset": 0},
    {"lexical_offset": -5},
    {"lexical_offset": 1e308},
    {"max_shift": 1e308, "containment": 1e300},
    {"max_shift": 0},
    {"gamma": 1e308},
    {"model": "none"},
    {"weights": [0.0, 0.0, 0.0]},
    {"weights": [1e-300, 1e-300, 1e-300]},
    {"limits": [[1e308] * D] * 3},
    {"limits": [[-1e308] * D] * 3},
    {"centres": [[1e308] * (D + 1)] * 3},
    {"centres": [[-1] + [0] * D] * 3},
    {"centres": [[1] + [0] * D] * 3, "limits": [[0] * D] * 3, "weights": [1, 0, 0], "gamma": 0},
    {"centres": [], "limits": [], "weights": [], "tables": []},
    {"tables": [{"attention": [0.0]}, {"attention": [1e308]}]},
    {"tables": [{"default_answered": [0], "entries": [[0]] * 80}]},
    {"tables": [{"default_answered_cells": [1e308], "default_explained": -1e308}]},
    {"tables": [{"rows": "", "entries": []}]},
]


@pytest.fixture(scope="module")
def extreme_products(client):
    """Index of products with lexical scores up to the largest float32, and of one with the largest coordinates."""
    rng = np.random.default_rng(41)
    points = [*random_points(rng, 5), np.full(D + 1, 1e30, np.float32)]
    values = zip(points, random_titles(rng, 6, IDS), [0.0, 1.0, 1e9, 1e30, 3e38, 1.0], strict=True)
    name = "test-painless-extremes"
    client.indices.delete(index=name, ignore_unavailable=True)
    create_script_index(client, name)
    store(client, name, [product(point, title, lexical=lexical) for point, title, lexical in values])
    yield name
    client.indices.delete(index=name)


@pytest.mark.node
@pytest.mark.parametrize("extreme", EXTREMES)
def test_the_script_never_fails(client, extreme_products, extreme):
    """Extreme parameters and integers in their place never fail; no score is negative or infinite."""
    rng = np.random.default_rng(42)
    table = random_table(rng, 1, 80, IDS)
    script = painless.build_score_script(random_query(rng, 3), SCORING, [table])
    changes = [painless.table_params(table) | changes for changes in extreme.get("tables", [])]
    script["params"] |= extreme | ({"tables": changes} if "tables" in extreme else {})
    scores = script_scores(client, extreme_products, script, LEXICAL)
    assert len(scores) == 6
    assert np.all((scores >= 0) & np.isfinite(scores))


@given(tables)
def test_the_parameters_of_a_table_are_its_entries(table):
    """`rows` leads from every id to its entries; those that are not listed are the defaults."""
    params = painless.table_params(table)
    assert [ord(character) - 33 for character in params["rows"] if character != " "] == list(range(len(table.ids)))
    assert [number for number, character in enumerate(params["rows"]) if character != " "] == table.ids.tolist()
    answered = np.tile(params["default_answered"], (len(table.ids), 1))
    cells = np.tile(params["default_answered_cells"], (len(table.ids), 1))
    for row, (_, *entries) in enumerate(params["entries"]):
        columns = entries[::3]
        answered[row, columns], cells[row, columns] = entries[1::3], entries[2::3]
    np.testing.assert_array_equal(answered, table.answered[:-1])
    np.testing.assert_array_equal(cells, table.answered_cells[:-1])
    explained = [entry[0] for entry in params["entries"]]
    assert [*explained, params["default_explained"]] == table.explained.tolist()
    assert params["attention"] == table.attention.tolist()


def test_only_the_signals_of_the_index_have_parameters():
    """Containment needs a region and vectors in the index, attention needs tables and trigrams in it."""
    region, table = random_query(np.random.default_rng(43), 2), some_table()

    def given_params(signals, region, tables):
        params = painless.build_score_script(region, with_fusion(FUSION, signals), tables)["params"]
        return frozenset({"centres", "limits", "gamma", "containment", "tables", "attention"} & params.keys())

    contained = frozenset({"centres", "limits", "gamma", "containment"})
    attended = frozenset({"tables", "attention"})
    assert given_params(BOTH, region, [table]) == contained | attended
    assert given_params(BOTH, region, []) == given_params(CONTAINMENT, region, [table]) == contained
    assert given_params(BOTH, None, [table]) == given_params(ATTENTION, region, [table]) == attended
    with pytest.raises(KeyError):
        painless.build_score_script(region, with_fusion(FUSION, ATTENTION))
