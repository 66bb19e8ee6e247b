"""Creates the queries: by category, type, attribute, brand, measure and model number, spelled correctly and not."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from anthem_sandbox.catalogue.misspelling import misspell_query

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

    from anthem_sandbox.catalogue.items import CatalogueItem
    from anthem_sandbox.catalogue.plan import CataloguePlan, CategoryPath, MeasureUnit, ProductAttribute, ProductType

# A kind has fewer queries if the plan does not provide as many. The kinds are written to the metadata.
MAX_QUERIES_PER_KIND = {
    "general": 120, "category": 170, "type": 280, "synonym": 240, "type+attribute": 360,
    "brand+type": 150, "unit": 260, "model": 130,
}  # fmt: skip
MAX_MISSPELLED_QUERIES = 300
FRACTION_SPELLINGS = {"1/2": "half 0.5", "1/4": "quarter 0.25", "3/4": "0.75", "1-1/4": "1.25", "1-1/2": "1.5"}


@dataclass(frozen=True, slots=True)
class QueryIntent:
    """What a query asks for: a path in the category tree, and the constraints on a product in it."""

    path: CategoryPath
    attributes: dict[str, str] = field(default_factory=dict)
    brand: str | None = None
    model: str | None = None

    @property
    def constraints(self) -> int:
        """Number of required attributes, brand and model included."""
        return len(self.attributes) + (self.brand is not None) + (self.model is not None)


@dataclass(frozen=True, slots=True)
class CatalogueQuery:
    """A query: its text, its kind and what it means."""

    id: str
    text: str
    kind: str
    intent: QueryIntent
    correct_text: str  # the text without the typing error; equal to `text` unless the query is misspelled
    misspelling: dict[str, str] = field(default_factory=dict)  # kind of error, and id and kind of the correct query

    def metadata(self) -> dict[str, Any]:
        """Metadata for the BEIR folder; `depth` is the depth of the category that the query names."""
        intent = self.intent
        constraints = {"brand": intent.brand, "model": intent.model, "attributes": intent.attributes}
        return {
            "kind": self.kind,
            "depth": len(intent.path),
            "constraints": intent.constraints,
            "path": list(intent.path),
            "wants": {name: value for name, value in constraints.items() if value},
        } | self.misspelling


def query_key(text: str) -> str:
    """A key shared by queries that only differ in case, word order, punctuation or plural."""
    words = re.findall(r"\w+", text.casefold())
    return " ".join(sorted(word.removesuffix("s") or word for word in words))


def create_queries(plan: CataloguePlan, items: list[CatalogueItem], rng: random.Random) -> list[CatalogueQuery]:
    """Create queries of every kind, with unique texts."""
    queries: list[CatalogueQuery] = []
    texts: set[str] = set()
    for kind, max_queries in MAX_QUERIES_PER_KIND.items():
        count = 0
        for text, intent in _QUERY_GENERATORS[kind](plan, items, rng):
            if count < max_queries and text not in texts:
                texts.add(text)
                count += 1
                queries.append(CatalogueQuery(f"Q{len(queries) + 1:04d}", text, kind, intent, text))
    return queries + _create_misspelled(queries, texts, rng)


def assign_splits(queries: list[CatalogueQuery], rng: random.Random) -> dict[str, str]:
    """Assign one fifth to dev, the rest to train. Queries with the same key share a split, misspelled ones included.

    Returns:
        Query id to the name of its split.
    """
    keys = list(dict.fromkeys(query_key(query.correct_text) for query in queries))
    dev = set(rng.sample(keys, len(keys) // 5))
    return {query.id: "dev" if query_key(query.correct_text) in dev else "train" for query in queries}


def _create_misspelled(queries: list[CatalogueQuery], texts: set[str], rng: random.Random) -> list[CatalogueQuery]:
    """Misspelled copies of queries, without those that happen to equal another query."""
    copies: list[CatalogueQuery] = []
    keys = {query_key(text) for text in texts}
    candidates = [query for query in queries if query.kind != "model"]
    for query in rng.sample(candidates, len(candidates)):
        text, error = misspell_query(query.text, rng)
        if len(copies) < MAX_MISSPELLED_QUERIES and query_key(text) not in keys:
            keys.add(query_key(text))
            query_id = f"Q{len(queries) + len(copies) + 1:04d}"
            misspelling = {"error": error, "of": query.id, "of_kind": query.kind}
            copies.append(CatalogueQuery(query_id, text, "misspelled", query.intent, query.text, misspelling))
    return copies


_QueryCandidate = tuple[str, QueryIntent]


def _general_queries(plan: CataloguePlan, _items: list[CatalogueItem], rng: random.Random) -> Iterator[_QueryCandidate]:
    """Names of departments and sections."""
    candidates = [
        (name, QueryIntent(category.path))
        for category in plan.categories
        if len(category.path) <= 2
        for name in category.names
    ]
    yield from rng.sample(candidates, len(candidates))


def _category_queries(
    plan: CataloguePlan, _items: list[CatalogueItem], rng: random.Random
) -> Iterator[_QueryCandidate]:
    """Names of categories."""
    candidates = [
        (name, QueryIntent(category.path))
        for category in plan.categories
        if len(category.path) > 2
        for name in category.names
    ]
    yield from rng.sample(candidates, len(candidates))


def _type_queries(plan: CataloguePlan, _items: list[CatalogueItem], rng: random.Random) -> Iterator[_QueryCandidate]:
    """The most common noun of a type."""
    for product_type in rng.sample(_sample_types(plan, rng), len(plan.types) // 2):
        noun = product_type.nouns[0]
        yield noun if rng.random() < 0.7 else pluralise(noun), QueryIntent(product_type.path)


def _synonym_queries(plan: CataloguePlan, _items: list[CatalogueItem], rng: random.Random) -> Iterator[_QueryCandidate]:
    """Another noun of a type."""
    candidates = [
        (noun, QueryIntent(product_type.path))
        for product_type in _sample_types(plan, rng)
        for noun in product_type.nouns[1:]
    ]
    yield from rng.sample(candidates, len(candidates))


def _sample_types(plan: CataloguePlan, rng: random.Random) -> list[ProductType]:
    """All main types, and one in five accessories."""
    return [product_type for product_type in plan.types if product_type.accessory_of is None or rng.random() < 0.2]


def _attribute_queries(
    plan: CataloguePlan, items: list[CatalogueItem], rng: random.Random
) -> Iterator[_QueryCandidate]:
    """A type with one to three attributes."""
    for item in rng.sample(items, len(items)):
        if available := _title_attributes(item, with_unit=False):
            chosen = rng.sample(available, min(len(available), rng.choice((1, 1, 2, 2, 3))))
            yield _write_phrase(plan, item, chosen, rng), QueryIntent(item.type.path, _chosen_values(item, chosen))


def _unit_queries(plan: CataloguePlan, items: list[CatalogueItem], rng: random.Random) -> Iterator[_QueryCandidate]:
    """A type with a measure, and sometimes another attribute."""
    for item in rng.sample(items, len(items)):
        measures = _title_attributes(item, with_unit=True)
        others = _title_attributes(item, with_unit=False)
        if measures:
            chosen = [rng.choice(measures), *rng.sample(others, min(len(others), rng.choice((0, 0, 1))))]
            yield _write_phrase(plan, item, chosen, rng), QueryIntent(item.type.path, _chosen_values(item, chosen))


def _brand_queries(plan: CataloguePlan, items: list[CatalogueItem], rng: random.Random) -> Iterator[_QueryCandidate]:
    """A brand and a type, sometimes with an attribute."""
    for item in rng.sample(items, len(items)):
        available = _title_attributes(item, with_unit=False)
        chosen = rng.sample(available, min(len(available), rng.choice((0, 0, 0, 1))))
        phrase = _write_phrase(plan, item, chosen, rng)
        brand = item.brand.lower().replace(" & ", rng.choice((" & ", " and ")))
        text = f"{brand} {phrase}" if rng.random() < 0.8 else f"{phrase} {brand}"
        yield text, QueryIntent(item.type.path, _chosen_values(item, chosen), item.brand)


def _model_queries(_plan: CataloguePlan, items: list[CatalogueItem], rng: random.Random) -> Iterator[_QueryCandidate]:
    """A model number, alone or with the brand and the noun."""
    for item in rng.sample(items, len(items)):
        if item.model is not None and "model" in item.keys_in_title:
            model = rng.choice((item.model, item.model.lower(), item.model.lower().replace("-", "")))
            form = rng.choice(("{m}", "{b} {m}", "{m} {n}", "{b} {m} {n}", "{b} {n} model {m}"))
            text = form.format(m=model, b=item.brand.lower(), n=item.type.nouns[0])
            yield text, QueryIntent(item.type.path, {}, item.brand, item.model)


_QUERY_GENERATORS: dict[
    str, Callable[[CataloguePlan, list[CatalogueItem], random.Random], Iterator[_QueryCandidate]]
] = {
    "general": _general_queries,
    "category": _category_queries,
    "type": _type_queries,
    "synonym": _synonym_queries,
    "type+attribute": _attribute_queries,
    "brand+type": _brand_queries,
    "unit": _unit_queries,
    "model": _model_queries,
}


def pluralise(noun: str) -> str:
    """The plural in `s` or `es`; a noun that already ends in `s` is unchanged."""
    if noun.endswith("s"):
        return noun
    return noun + ("es" if re.search("(x|ch|sh)$", noun) else "s")


def _title_attributes(item: CatalogueItem, *, with_unit: bool) -> list[ProductAttribute]:
    """The attributes in the title of an item, either those with a unit or those without."""
    return [
        attribute
        for attribute in item.type.attributes
        if attribute.key in item.keys_in_title and (attribute.unit is not None) == with_unit
    ]


def _chosen_values(item: CatalogueItem, chosen: list[ProductAttribute]) -> dict[str, str]:
    return {attribute.key: item.values[attribute.key] for attribute in chosen}


def _write_phrase(plan: CataloguePlan, item: CatalogueItem, chosen: list[ProductAttribute], rng: random.Random) -> str:
    """Name a type and some of an item's attributes, in one of the usual word orders."""
    noun = item.type.nouns[0] if rng.random() < 0.75 else rng.choice(item.type.nouns)
    values = [_write_value(plan, attribute, item.values[attribute.key], rng) for attribute in chosen]
    after = [value for value in values if value.startswith("for ") or rng.random() < 0.2]
    before = [value for value in values if value not in after]
    return " ".join([*before, noun if rng.random() < 0.85 else pluralise(noun), *after])


def _write_value(plan: CataloguePlan, attribute: ProductAttribute, value: str, rng: random.Random) -> str:
    if attribute.unit is not None:
        return write_measure(plan, attribute.unit, value, rng)
    forms = plan.spoken_forms.get(value, ())
    return rng.choice(forms) if forms and rng.random() < 0.4 else value


def write_measure(plan: CataloguePlan, unit: MeasureUnit, value: str, rng: random.Random) -> str:
    """Write a measure as in a query: `1/2 in` -> `half inch`, `12x24 in` -> `12 by 24 inches`, `24 in` -> `2 ft`."""
    number = value.partition(" ")[0]
    if unit.larger and number.isdecimal() and int(number) % unit.larger[1] == 0 and rng.random() < 0.4:
        number, unit = str(int(number) // unit.larger[1]), plan.units[unit.larger[0]]
    number = rng.choice((number, *FRACTION_SPELLINGS.get(number, "").split()))
    number = number.replace("x", rng.choice(("x", " x ", " by ")))
    return rng.choice(unit.queries).replace("{n}", number)
