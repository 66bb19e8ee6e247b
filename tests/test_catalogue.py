"""Laws of the generated catalogue: the same for the same seed, broad, judged by what products are, and hard."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import time
from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anthem_core.beir import read_dataset, write_dataset
from anthem_sandbox.catalogue import generate_catalogue
from anthem_sandbox.catalogue.judgments import normalised_words
from anthem_sandbox.catalogue.misspelling import TYPING_ERRORS, misspell
from anthem_sandbox.catalogue.plan import load_plan
from anthem_sandbox.catalogue.queries import query_key, write_measure

KINDS = {
    "general", "category", "type", "synonym", "type+attribute", "brand+type", "unit", "model", "misspelled",
}  # fmt: skip


@pytest.fixture(scope="module")
def catalogue():
    """The catalogue as the demo writes it."""
    return generate_catalogue()


@pytest.fixture(scope="module")
def judged(catalogue):
    """Query id to its judgments, over both splits."""
    return catalogue.qrels["train"] | catalogue.qrels["dev"]


@pytest.fixture(scope="module")
def shop():
    """The plan behind it."""
    return load_plan()


def digests(folder):
    """SHA-256 of every file of a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_same_seed_gives_the_same_bytes_in_any_process(catalogue, tmp_path):
    """Two processes that hash strings differently write what this one writes."""
    write_dataset(catalogue, tmp_path / "here")
    code = (
        "import sys; from pathlib import Path; from anthem_core.beir import write_dataset; "
        "from anthem_sandbox.catalogue import generate_catalogue; write_dataset(generate_catalogue(), Path(sys.argv[1]))"
    )
    for seed in ("1", "2"):
        command = [sys.executable, "-c", code, str(tmp_path / seed)]
        subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": seed})
    assert digests(tmp_path / "1") == digests(tmp_path / "2") == digests(tmp_path / "here")
    assert len(digests(tmp_path / "here")) == 4


def test_another_seed_is_another_catalogue(catalogue):
    """Seeds differ in titles and in queries."""
    other = generate_catalogue(seed=1)
    titles, queries = (
        ({product.title for product in each.products.values()} for each in (catalogue, other)),
        other.queries,
    )
    assert len(set.intersection(*titles)) < 600
    assert set(queries.values()) != set(catalogue.queries.values())


def test_it_reads_back_as_it_was_written(catalogue, tmp_path):
    """The folder holds all of it, and no line of it is bad."""
    write_dataset(catalogue, tmp_path)
    assert read_dataset(tmp_path) == catalogue


def test_it_is_made_in_a_few_seconds():
    """Generation takes less than 5 s of processor time."""
    began = time.process_time()
    generate_catalogue()
    assert time.process_time() - began < 5


def test_the_store_is_broad_and_deep(catalogue):
    """At least 5,000 products in a tree of four levels, ten departments and 150 types, under 100 brands or so."""
    paths = {tuple(product.metadata["category"]) for product in catalogue.products.values()}
    assert len(catalogue.products) >= 5000
    assert min(map(len, paths)) >= 4
    assert len({path[:1] for path in paths}) >= 10
    assert len(paths) >= 150
    assert len({product.metadata["brand"] for product in catalogue.products.values()}) >= 80


def test_the_number_of_products_can_be_chosen():
    """As many products as asked for, each type having one; fewer than the types are refused."""
    assert len(generate_catalogue(products=1234).products) == 1234
    with pytest.raises(ValueError, match="ask for"):
        generate_catalogue(products=100)


def test_titles_are_words_and_nearly_all_differ(catalogue):
    """No title is empty, and 99 of 100 are the only one of their kind."""
    titles = [product.title for product in catalogue.products.values()]
    assert all(title.strip() == title and "  " not in title and "{" not in title for title in titles)
    assert len(set(titles)) >= 0.99 * len(titles)
    assert 7 <= sum(len(title.split()) for title in titles) / len(titles) <= 14


def test_model_numbers_are_letters_and_digits_and_one_product_each(catalogue):
    """A model number names one product; some share all but their end with one of another type."""
    models = defaultdict(set)
    found = [product.metadata["model"] for product in catalogue.products.values() if "model" in product.metadata]
    for product in catalogue.products.values():
        if "model" in product.metadata:
            models[product.metadata["model"].rstrip("BSXK")[:-2]].add(tuple(product.metadata["category"]))
    assert len(set(found)) == len(found) > 1000
    assert all(any(map(str.isalpha, model)) and any(map(str.isdigit, model)) for model in found)
    assert max(map(len, models.values())) > 3


def test_no_name_means_two_things(shop):
    """A noun belongs to one type and a category's name to one place, or the judgments would be wrong."""
    nouns = Counter(noun for product_type in shop.types for noun in product_type.nouns)
    names = Counter(name for node in shop.nodes for name in node.names)
    assert max((nouns + names).values()) == 1


def test_there_are_queries_of_every_kind(catalogue):
    """Between 1,500 and 2,000 queries, of nine kinds and of every depth, no text twice."""
    kinds = Counter(metadata["kind"] for metadata in catalogue.query_metadata.values())
    assert 1500 <= len(catalogue.queries) <= 2000
    assert set(kinds) == KINDS
    assert min(kinds.values()) >= 80
    assert {metadata["depth"] for metadata in catalogue.query_metadata.values()} == {1, 2, 3, 4}
    assert len(set(catalogue.queries.values())) == len(catalogue.queries)


def test_splits_share_no_query(catalogue):
    """Train and dev, one fifth of all, share no id, no text however ordered or in plural, and no misspelled twin."""
    train, dev = catalogue.qrels["train"], catalogue.qrels["dev"]
    assert train.keys() | dev.keys() == catalogue.queries.keys()
    assert not train.keys() & dev.keys()
    assert 0.18 <= len(dev) / len(catalogue.queries) <= 0.22
    keys = [{query_key(catalogue.queries[query]) for query in split} for split in (train, dev)]
    assert not keys[0] & keys[1]
    for query, metadata in catalogue.query_metadata.items():
        assert "of" not in metadata or (query in dev) == (metadata["of"] in dev)


def test_every_query_is_judged_with_positives_and_zeros(catalogue, judged):
    """All that is right for a query is judged, and ten wrong products; all of them are in the corpus."""
    for grades in judged.values():
        assert len(grades) >= 11
        assert max(grades.values()) == 3
        assert list(grades.values()).count(0) == 10
        assert grades.keys() <= catalogue.products.keys()
        assert set(grades.values()) <= {0, 1, 2, 3}
    total = Counter(grade for grades in judged.values() for grade in grades.values())
    assert min(total.values()) > 0.1 * sum(total.values())


def misses(wants, product):
    """How many of a query's wants a product does not meet."""
    has = product.metadata
    met = [has["attributes"].get(name) == value for name, value in wants.get("attributes", {}).items()]
    return (met + [has.get(name) == wants[name] for name in ("brand", "model") if name in wants]).count(False)


def test_what_is_all_right_has_all_that_is_asked(catalogue, judged):
    """A product of grade 3 stands where the query points and has every attribute, brand and model that it names."""
    for query, grades in judged.items():
        asked = catalogue.query_metadata[query]
        right = [catalogue.products[product] for product, grade in grades.items() if grade == 3]
        assert all(product.metadata["category"][: asked["depth"]] == asked["path"] for product in right)
        assert all(misses(asked["wants"], product) == 0 for product in right)


def test_each_want_that_is_not_met_costs_a_grade(catalogue, judged):
    """Of the right type, a product has grade 3 less one for each miss, and 1 at least."""
    for query, grades in judged.items():
        asked = catalogue.query_metadata[query]
        for product, grade in grades.items():
            if catalogue.products[product].metadata["category"] == asked["path"]:
                assert grade == max(1, 3 - misses(asked["wants"], catalogue.products[product]))


def test_narrow_queries_say_what_they_want(catalogue):
    """A kind that names attributes, brand or model wants them; a kind that names a place wants nothing else."""
    for asked in catalogue.query_metadata.values():
        kind, wants = asked.get("of_kind", asked["kind"]), asked["wants"]
        named = {"type+attribute": "attributes", "unit": "attributes", "brand+type": "brand", "model": "model"}.get(
            kind
        )
        assert named in wants if named else not wants
        assert asked["constraints"] == len(wants.get("attributes", {})) + ("brand" in wants) + ("model" in wants)


def test_accessories_are_never_the_thing(catalogue, judged, shop):
    """A sofa cover has at most grade 1 for a sofa, and 0 as soon as more than the type is asked."""
    parts = {product_type.path: product_type.part_of for product_type in shop.types if product_type.part_of}
    met = set()
    for query, grades in judged.items():
        metadata = catalogue.query_metadata[query]
        for product, grade in grades.items():
            if parts.get(tuple(catalogue.products[product].metadata["category"])) == tuple(metadata["path"]):
                met.add((grade, metadata["constraints"] > 0))
    assert met == {(1, False), (0, True)}


def test_hard_distractors_hold_the_words_and_are_wrong(catalogue, judged):
    """For some queries a wrong product holds every word, for half of the rest all words but one or two."""
    missing = []
    for query, grades in judged.items():
        asked = normalised_words(catalogue.queries[query])
        wrong = [normalised_words(catalogue.products[product].title) for product, grade in grades.items() if grade == 0]
        missing.append(min(len(asked - title) for title in wrong))
    assert missing.count(0) > 0.04 * len(missing)
    assert sum(count <= 1 for count in missing) > 0.5 * len(missing)


def test_words_alone_do_not_give_the_order(catalogue):
    """Over dev, word overlap puts a right product first more often than chance does, and far from always."""
    dice, first, chance = random.Random(0), [], []
    for query, grades in catalogue.qrels["dev"].items():
        asked = normalised_words(catalogue.queries[query])
        score = {p: (len(asked & normalised_words(catalogue.products[p].title)), dice.random()) for p in grades}
        first.append(grades[max(grades, key=score.__getitem__)] == 3)
        chance.append(list(grades.values()).count(3) / len(grades))
    assert sum(chance) / len(chance) + 0.15 < sum(first) / len(first) < 0.9


def test_misspelled_queries_mean_what_their_twins_mean(catalogue):
    """A misspelled query differs from its twin by one slip, and asks for the same."""
    errors = Counter()
    for query, metadata in catalogue.query_metadata.items():
        if metadata["kind"] == "misspelled":
            twin = metadata["of"]
            errors[metadata["error"]] += 1
            assert catalogue.queries[query] != catalogue.queries[twin]
            assert abs(len(catalogue.queries[query]) - len(catalogue.queries[twin])) <= 1
            assert all(metadata[name] == catalogue.query_metadata[twin][name] for name in ("path", "wants"))
    assert errors.keys() == {*TYPING_ERRORS, "run together"}


@given(st.text("abcdefgh nsofa", max_size=30), st.randoms(use_true_random=False))
def test_a_slip_changes_one_place(text, dice):
    """Misspelling changes the length by one at most and no letter's count by more than one."""
    slipped, _ = misspell(text, dice)
    before, after = Counter(text.split()), Counter(slipped.split())
    assert (before - after).total() <= 2
    changed = (Counter(text) - Counter(slipped)) + (Counter(slipped) - Counter(text))
    assert changed.total() - changed[" "] <= 2


def test_measures_are_said_in_many_ways(shop):
    """Half an inch, twelve by twenty-four, two feet for 24 in., one TB for 1024 GB: shoppers' ways, not the title's."""
    dice = random.Random(0)

    def ways(unit, value):
        return {write_measure(shop, shop.units[unit], value, dice) for _ in range(300)}

    assert {"half inch", "1/2 inch", "0.5 in"} <= ways("in", "1/2 in")
    assert {"12 by 24 inch", "12x24 in"} <= ways("in", "12x24 in")
    assert {"2 foot", "24 inch", '24"'} <= ways("in", "24 in")
    assert {"1 tb", "1024gb"} <= ways("GB", "1024 GB")
    assert not any("{" in way for unit in shop.units for way in ways(unit, f"3 {unit}"))
