"""Properties of the generated catalogue: reproducible, broad, judged by attributes, and hard for lexical search."""

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
from anthem_sandbox.catalogue.misspelling import TYPING_ERRORS, misspell_query
from anthem_sandbox.catalogue.plan import load_plan
from anthem_sandbox.catalogue.queries import query_key, write_measure

QUERY_KINDS = {
    "general", "category", "type", "synonym", "type+attribute", "brand+type", "unit", "model", "misspelled",
}  # fmt: skip


@pytest.fixture(scope="module")
def catalogue():
    """The catalogue that the demo uses."""
    return generate_catalogue()


@pytest.fixture(scope="module")
def judged(catalogue):
    """Query id to its judgments, for both splits."""
    return catalogue.qrels["train"] | catalogue.qrels["dev"]


@pytest.fixture(scope="module")
def plan():
    """The plan of the catalogue."""
    return load_plan()


def digests(folder):
    """SHA-256 of every file in a folder, by relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_same_seed_gives_the_same_bytes_in_every_process(catalogue, tmp_path):
    """Processes with different hash seeds write the same files as this one."""
    write_dataset(catalogue, tmp_path / "here")
    code = (
        "import sys; from pathlib import Path; from anthem_core.beir import write_dataset; "
        "from anthem_sandbox.catalogue import generate_catalogue; "
        "write_dataset(generate_catalogue(), Path(sys.argv[1]))"
    )
    for seed in ("1", "2"):
        command = [sys.executable, "-c", code, str(tmp_path / seed)]
        subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": seed})
    assert digests(tmp_path / "1") == digests(tmp_path / "2") == digests(tmp_path / "here")
    assert len(digests(tmp_path / "here")) == 4


def test_another_seed_gives_another_catalogue(catalogue):
    """Catalogues with different seeds differ in titles and in queries."""
    other = generate_catalogue(seed=1)
    titles = [{product.title for product in dataset.products.values()} for dataset in (catalogue, other)]
    assert len(titles[0] & titles[1]) < 600
    assert set(other.queries.values()) != set(catalogue.queries.values())


def test_the_catalogue_is_read_as_it_was_written(catalogue, tmp_path):
    """A written catalogue is read back unchanged, without a skipped line."""
    write_dataset(catalogue, tmp_path)
    assert read_dataset(tmp_path) == catalogue


def test_generation_takes_a_few_seconds():
    """Generation takes less than 5 s of CPU time."""
    started = time.process_time()
    generate_catalogue()
    assert time.process_time() - started < 5


def test_the_catalogue_is_broad_and_deep(catalogue):
    """At least 5,000 products of 80 brands, in a tree of four levels, ten departments and 150 types."""
    paths = {tuple(product.metadata["category"]) for product in catalogue.products.values()}
    assert len(catalogue.products) >= 5000
    assert min(map(len, paths)) >= 4
    assert len({path[:1] for path in paths}) >= 10
    assert len(paths) >= 150
    assert len({product.metadata["brand"] for product in catalogue.products.values()}) >= 80


def test_the_number_of_products_can_be_chosen():
    """The catalogue has the requested number of products; fewer products than types are an error."""
    assert len(generate_catalogue(products=1234).products) == 1234
    with pytest.raises(ValueError, match="Request at least"):
        generate_catalogue(products=100)


def test_titles_are_well_formed_and_almost_all_unique(catalogue):
    """Titles have 7 to 14 words on average, and at least 99 % of them are unique."""
    titles = [product.title for product in catalogue.products.values()]
    assert all(title.strip() == title and "  " not in title and "{" not in title for title in titles)
    assert len(set(titles)) >= 0.99 * len(titles)
    assert 7 <= sum(len(title.split()) for title in titles) / len(titles) <= 14


def test_model_numbers_are_unique_and_similar(catalogue):
    """A model number identifies one product; some differ only at the end from those of other types."""
    types_by_series = defaultdict(set)
    models = [product.metadata["model"] for product in catalogue.products.values() if "model" in product.metadata]
    for product in catalogue.products.values():
        if "model" in product.metadata:
            series = product.metadata["model"].rstrip("BSXK")[:-2]
            types_by_series[series].add(tuple(product.metadata["category"]))
    assert len(set(models)) == len(models) > 1000
    assert all(any(map(str.isalpha, model)) and any(map(str.isdigit, model)) for model in models)
    assert max(map(len, types_by_series.values())) > 3


def test_names_are_unambiguous(plan):
    """A noun names one type and a category name one category; otherwise the judgments would be wrong."""
    nouns = Counter(noun for product_type in plan.types for noun in product_type.nouns)
    names = Counter(name for category in plan.categories for name in category.names)
    assert max((nouns + names).values()) == 1


def test_there_are_queries_of_every_kind(catalogue):
    """Between 1,500 and 2,000 queries with unique texts, of nine kinds and of every depth."""
    kinds = Counter(metadata["kind"] for metadata in catalogue.query_metadata.values())
    assert 1500 <= len(catalogue.queries) <= 2000
    assert set(kinds) == QUERY_KINDS
    assert min(kinds.values()) >= 80
    assert {metadata["depth"] for metadata in catalogue.query_metadata.values()} == {1, 2, 3, 4}
    assert len(set(catalogue.queries.values())) == len(catalogue.queries)


def test_splits_share_no_query(catalogue):
    """Dev has one fifth of the queries. Train and dev share no id, no query key, and no misspelled copy."""
    train, dev = catalogue.qrels["train"], catalogue.qrels["dev"]
    assert train.keys() | dev.keys() == catalogue.queries.keys()
    assert not train.keys() & dev.keys()
    assert 0.18 <= len(dev) / len(catalogue.queries) <= 0.22
    keys = [{query_key(catalogue.queries[query]) for query in split} for split in (train, dev)]
    assert not keys[0] & keys[1]
    for query, metadata in catalogue.query_metadata.items():
        assert "of" not in metadata or (query in dev) == (metadata["of"] in dev)


def test_every_query_has_relevant_and_irrelevant_judgments(catalogue, judged):
    """Every query has a judgment of grade 3 and ten of grade 0, all for products in the corpus."""
    for grades in judged.values():
        assert len(grades) >= 11
        assert max(grades.values()) == 3
        assert list(grades.values()).count(0) == 10
        assert grades.keys() <= catalogue.products.keys()
        assert set(grades.values()) <= {0, 1, 2, 3}
    total = Counter(grade for grades in judged.values() for grade in grades.values())
    assert min(total.values()) > 0.1 * sum(total.values())


def count_misses(constraints, product):
    """Number of a query's constraints that a product does not meet."""
    metadata = product.metadata
    met = [metadata["attributes"].get(name) == value for name, value in constraints.get("attributes", {}).items()]
    met += [metadata.get(name) == constraints[name] for name in ("brand", "model") if name in constraints]
    return met.count(False)


def test_grade_3_means_that_all_constraints_are_met(catalogue, judged):
    """A product of grade 3 is in the category of the query and has every attribute, brand and model that it names."""
    for query, grades in judged.items():
        metadata = catalogue.query_metadata[query]
        relevant = [catalogue.products[product] for product, grade in grades.items() if grade == 3]
        assert all(product.metadata["category"][: metadata["depth"]] == metadata["path"] for product in relevant)
        assert all(count_misses(metadata["wants"], product) == 0 for product in relevant)


def test_each_miss_costs_a_grade(catalogue, judged):
    """A product of the right type has grade 3, minus one per missed constraint, but at least 1."""
    for query, grades in judged.items():
        metadata = catalogue.query_metadata[query]
        for product, grade in grades.items():
            if catalogue.products[product].metadata["category"] == metadata["path"]:
                assert grade == max(1, 3 - count_misses(metadata["wants"], catalogue.products[product]))


def test_constraints_match_the_kind_of_query(catalogue):
    """Kinds with attributes, brand or model have that constraint; the other kinds have none."""
    constraint_of_kind = {
        "type+attribute": "attributes", "unit": "attributes", "brand+type": "brand", "model": "model",
    }  # fmt: skip
    for metadata in catalogue.query_metadata.values():
        wants, constraint = metadata["wants"], constraint_of_kind.get(metadata.get("of_kind", metadata["kind"]))
        assert constraint in wants if constraint else not wants
        assert metadata["constraints"] == len(wants.get("attributes", {})) + ("brand" in wants) + ("model" in wants)


def test_accessories_are_hardly_relevant(catalogue, judged, plan):
    """A sofa cover has grade 1 for a query that only names the type sofa, and 0 if the query has constraints."""
    accessories = {
        product_type.path: product_type.accessory_of for product_type in plan.types if product_type.accessory_of
    }
    cases = set()
    for query, grades in judged.items():
        metadata = catalogue.query_metadata[query]
        for product, grade in grades.items():
            if accessories.get(tuple(catalogue.products[product].metadata["category"])) == tuple(metadata["path"]):
                cases.add((grade, metadata["constraints"] > 0))
    assert cases == {(1, False), (0, True)}


def test_irrelevant_products_contain_the_words_of_the_query(catalogue, judged):
    """For 4 % of the queries an irrelevant title has every word; for half of them one lacks at most one word."""
    missing = []
    for query, grades in judged.items():
        words = normalised_words(catalogue.queries[query])
        irrelevant = [
            normalised_words(catalogue.products[product].title) for product, grade in grades.items() if grade == 0
        ]
        missing.append(min(len(words - title) for title in irrelevant))
    assert missing.count(0) > 0.04 * len(missing)
    assert sum(count <= 1 for count in missing) > 0.5 * len(missing)


def test_word_overlap_is_a_weak_ranking(catalogue):
    """In dev, word overlap ranks a product of grade 3 first more often than chance, but far from always."""
    rng, first, chance = random.Random(0), [], []
    for query, grades in catalogue.qrels["dev"].items():
        words = normalised_words(catalogue.queries[query])
        score = {p: (len(words & normalised_words(catalogue.products[p].title)), rng.random()) for p in grades}
        first.append(grades[max(grades, key=score.__getitem__)] == 3)
        chance.append(list(grades.values()).count(3) / len(grades))
    assert sum(chance) / len(chance) + 0.15 < sum(first) / len(first) < 0.9


def test_misspelled_queries_keep_their_intent(catalogue):
    """A misspelled query differs from the correct one by one typing error, and has the same intent."""
    errors = Counter()
    for query, metadata in catalogue.query_metadata.items():
        if metadata["kind"] == "misspelled":
            correct = metadata["of"]
            errors[metadata["error"]] += 1
            assert catalogue.queries[query] != catalogue.queries[correct]
            assert abs(len(catalogue.queries[query]) - len(catalogue.queries[correct])) <= 1
            assert all(metadata[name] == catalogue.query_metadata[correct][name] for name in ("path", "wants"))
    assert errors.keys() == {*TYPING_ERRORS, "run together"}


@given(st.text("abcdefgh nsofa", max_size=30), st.randoms(use_true_random=False))
def test_a_typing_error_changes_one_place(text, rng):
    """Misspelling changes at most two words, and adds and removes at most two letters."""
    misspelled, _ = misspell_query(text, rng)
    before, after = Counter(text.split()), Counter(misspelled.split())
    assert (before - after).total() <= 2
    changed = (Counter(text) - Counter(misspelled)) + (Counter(misspelled) - Counter(text))
    assert changed.total() - changed[" "] <= 2


def test_measures_have_many_forms(plan):
    """Measures in queries are written as shoppers do: half inch, 12 by 24 inch, 2 foot for 24 in, 1 tb for 1024 GB."""
    rng = random.Random(0)

    def forms(unit, value):
        return {write_measure(plan, plan.units[unit], value, rng) for _ in range(300)}

    assert {"half inch", "1/2 inch", "0.5 in"} <= forms("in", "1/2 in")
    assert {"12 by 24 inch", "12x24 in"} <= forms("in", "12x24 in")
    assert {"2 foot", "24 inch", '24"'} <= forms("in", "24 in")
    assert {"1 tb", "1024gb"} <= forms("GB", "1024 GB")
    assert not any("{" in form for unit in plan.units for form in forms(unit, f"3 {unit}"))
