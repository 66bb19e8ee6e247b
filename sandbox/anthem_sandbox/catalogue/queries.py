"""What shoppers type: general and narrow, by type, attribute, brand, measure and model, rightly spelled and not."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from anthem_sandbox.catalogue.misspelling import misspell

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

    from anthem_sandbox.catalogue.items import CatalogueItem
    from anthem_sandbox.catalogue.plan import CataloguePlan, CategoryPath, MeasureUnit, ProductAttribute, ProductType

# Kinds of query and how many of each at most; a kind asks for fewer where the shop has no more.
MAX_QUERIES_PER_KIND = {
    "general": 120, "category": 170, "type": 280, "synonym": 240, "type+attribute": 360,
    "brand+type": 150, "unit": 260, "model": 130,
}  # fmt: skip
MAX_MISSPELLED_QUERIES = 300
FRACTION_SPELLINGS = {"1/2": "half 0.5", "1/4": "quarter 0.25", "3/4": "0.75", "1-1/4": "1.25", "1-1/2": "1.5"}


@dataclass(frozen=True, slots=True)
class QueryIntent:
    """What a query asks: a place in the tree, and what a product there must have."""

    path: CategoryPath
    wants: dict[str, str] = field(default_factory=dict)
    brand: str | None = None
    model: str | None = None

    @property
    def constraints(self) -> int:
        """How many things beside the place are asked."""
        return len(self.wants) + (self.brand is not None) + (self.model is not None)


@dataclass(frozen=True, slots=True)
class CatalogueQuery:
    """A query: what is typed, what is meant, and of which kind it is."""

    id: str
    text: str
    kind: str
    intent: QueryIntent
    meant: str  # the text as it would be spelled rightly
    error: dict[str, str] = field(default_factory=dict)  # of a misspelled query: the kind of error, and its twin

    def metadata(self) -> dict[str, Any]:
        """What the BEIR folder keeps: `depth` is the depth of the category that the query names."""
        asked = self.intent
        wants = {"brand": asked.brand, "model": asked.model, "attributes": asked.wants}
        return {
            "kind": self.kind,
            "depth": len(asked.path),
            "constraints": asked.constraints,
            "path": list(asked.path),
            "wants": {name: want for name, want in wants.items() if want},
        } | self.error


def query_key(text: str) -> str:
    """What two queries share that differ in case, order, marks or plural alone."""
    words = re.findall(r"\w+", text.casefold())
    return " ".join(sorted(word.removesuffix("s") or word for word in words))


def create_queries(shop: CataloguePlan, items: list[CatalogueItem], rng: random.Random) -> list[CatalogueQuery]:
    """Ask every kind of query, no text twice."""
    queries: list[CatalogueQuery] = []
    taken: set[str] = set()
    for kind, count in MAX_QUERIES_PER_KIND.items():
        made = 0
        for text, intent in _QUERY_GENERATORS[kind](shop, items, rng):
            if made < count and text not in taken:
                taken.add(text)
                made += 1
                queries.append(CatalogueQuery(f"Q{len(queries) + 1:04d}", text, kind, intent, text))
    return queries + _create_misspelled(queries, taken, rng)


def assign_splits(queries: list[CatalogueQuery], rng: random.Random) -> dict[str, str]:
    """Assign one fifth to dev, the rest to train; queries of one key, and misspelled twins, stay together.

    Returns:
        Query id to the name of its split.
    """
    keys = list(dict.fromkeys(query_key(query.meant) for query in queries))
    dev = set(rng.sample(keys, len(keys) // 5))
    return {query.id: "dev" if query_key(query.meant) in dev else "train" for query in queries}


def _create_misspelled(queries: list[CatalogueQuery], taken: set[str], rng: random.Random) -> list[CatalogueQuery]:
    twins: list[CatalogueQuery] = []
    keys = {query_key(text) for text in taken}
    known = [query for query in queries if query.kind != "model"]
    for twin in rng.sample(known, len(known)):
        text, error = misspell(twin.text, rng)
        if len(twins) < MAX_MISSPELLED_QUERIES and query_key(text) not in keys:
            keys.add(query_key(text))
            name = f"Q{len(queries) + len(twins) + 1:04d}"
            details = {"error": error, "of": twin.id, "of_kind": twin.kind}
            twins.append(CatalogueQuery(name, text, "misspelled", twin.intent, twin.text, details))
    return twins


_QueryCandidate = tuple[str, QueryIntent]


def _general_queries(shop: CataloguePlan, _items: list[CatalogueItem], rng: random.Random) -> Iterator[_QueryCandidate]:
    asked = [(name, QueryIntent(node.path)) for node in shop.nodes if len(node.path) <= 2 for name in node.names]
    yield from rng.sample(asked, len(asked))


def _category_queries(
    shop: CataloguePlan, _items: list[CatalogueItem], rng: random.Random
) -> Iterator[_QueryCandidate]:
    asked = [(name, QueryIntent(node.path)) for node in shop.nodes if len(node.path) > 2 for name in node.names]
    yield from rng.sample(asked, len(asked))


def _type_queries(shop: CataloguePlan, _items: list[CatalogueItem], rng: random.Random) -> Iterator[_QueryCandidate]:
    for product_type in rng.sample(_sample_types(shop, rng), len(shop.types) // 2):
        noun = product_type.nouns[0]
        yield noun if rng.random() < 0.7 else pluralise(noun), QueryIntent(product_type.path)


def _synonym_queries(shop: CataloguePlan, _items: list[CatalogueItem], rng: random.Random) -> Iterator[_QueryCandidate]:
    asked = [(noun, QueryIntent(each.path)) for each in _sample_types(shop, rng) for noun in each.nouns[1:]]
    yield from rng.sample(asked, len(asked))


def _sample_types(shop: CataloguePlan, rng: random.Random) -> list[ProductType]:
    return [each for each in shop.types if each.part_of is None or rng.random() < 0.2]


def _attribute_queries(
    shop: CataloguePlan, items: list[CatalogueItem], rng: random.Random
) -> Iterator[_QueryCandidate]:
    for item in rng.sample(items, len(items)):
        has = [each for each in item.type.attributes if each.key in item.shown and each.unit is None]
        if has:
            chosen = rng.sample(has, min(len(has), rng.choice((1, 1, 2, 2, 3))))
            yield _write_phrase(shop, item, chosen, rng), QueryIntent(item.type.path, _required_values(item, chosen))


def _unit_queries(shop: CataloguePlan, items: list[CatalogueItem], rng: random.Random) -> Iterator[_QueryCandidate]:
    for item in rng.sample(items, len(items)):
        measures = [each for each in item.type.attributes if each.key in item.shown and each.unit]
        others = [each for each in item.type.attributes if each.key in item.shown and not each.unit]
        if measures:
            chosen = [rng.choice(measures), *rng.sample(others, min(len(others), rng.choice((0, 0, 1))))]
            yield _write_phrase(shop, item, chosen, rng), QueryIntent(item.type.path, _required_values(item, chosen))


def _brand_queries(shop: CataloguePlan, items: list[CatalogueItem], rng: random.Random) -> Iterator[_QueryCandidate]:
    for item in rng.sample(items, len(items)):
        has = [each for each in item.type.attributes if each.key in item.shown and each.unit is None]
        chosen = rng.sample(has, min(len(has), rng.choice((0, 0, 0, 1))))
        phrase, brand = (
            _write_phrase(shop, item, chosen, rng),
            item.brand.lower().replace(" & ", rng.choice((" & ", " and "))),
        )
        text = f"{brand} {phrase}" if rng.random() < 0.8 else f"{phrase} {brand}"
        yield text, QueryIntent(item.type.path, _required_values(item, chosen), item.brand)


def _model_queries(_shop: CataloguePlan, items: list[CatalogueItem], rng: random.Random) -> Iterator[_QueryCandidate]:
    for item in rng.sample(items, len(items)):
        if item.model is not None and "model" in item.shown:
            model = rng.choice((item.model, item.model.lower(), item.model.lower().replace("-", "")))
            form = rng.choice(("{m}", "{b} {m}", "{m} {n}", "{b} {m} {n}", "{b} {n} model {m}"))
            text = form.format(m=model, b=item.brand.lower(), n=item.type.nouns[0])
            yield text, QueryIntent(item.type.path, {}, item.brand, item.model)


_QUERY_GENERATORS: dict[str, Callable[[CataloguePlan, list[CatalogueItem], random.Random], Iterator[_QueryCandidate]]] = {
    "general": _general_queries, "category": _category_queries, "type": _type_queries, "synonym": _synonym_queries, "type+attribute": _attribute_queries,
    "brand+type": _brand_queries, "unit": _unit_queries, "model": _model_queries,
}  # fmt: skip


def pluralise(noun: str) -> str:
    """The plural where `s` or `es` makes it; the noun itself where it is one already."""
    if noun.endswith("s"):
        return noun
    return noun + ("es" if re.search("(x|ch|sh)$", noun) else "s")


def _required_values(item: CatalogueItem, chosen: list[ProductAttribute]) -> dict[str, str]:
    return {attribute.key: item.values[attribute.key] for attribute in chosen}


def _write_phrase(shop: CataloguePlan, item: CatalogueItem, chosen: list[ProductAttribute], rng: random.Random) -> str:
    """Name a type with some of an item's attributes, in one of the orders in which people type."""
    noun = item.type.nouns[0] if rng.random() < 0.75 else rng.choice(item.type.nouns)
    said = [_write_value(shop, attribute, item.values[attribute.key], rng) for attribute in chosen]
    after = [words for words in said if words.startswith("for ") or rng.random() < 0.2]
    before = [words for words in said if words not in after]
    return " ".join([*before, noun if rng.random() < 0.85 else pluralise(noun), *after])


def _write_value(shop: CataloguePlan, attribute: ProductAttribute, value: str, rng: random.Random) -> str:
    if attribute.unit is not None:
        return write_measure(shop, attribute.unit, value, rng)
    ways = shop.spoken.get(value, ())
    return rng.choice(ways) if ways and rng.random() < 0.4 else value


def write_measure(shop: CataloguePlan, unit: MeasureUnit, value: str, rng: random.Random) -> str:
    """Say a measure as shoppers do: `1/2 in` -> `half inch`, `12x24 in` -> `12 by 24 inches`, `24 in` -> `2 ft`."""
    number = value.partition(" ")[0]
    if unit.larger and number.isdecimal() and int(number) % unit.larger[1] == 0 and rng.random() < 0.4:
        number, unit = str(int(number) // unit.larger[1]), shop.units[unit.larger[0]]
    number = rng.choice((number, *FRACTION_SPELLINGS.get(number, "").split()))
    number = number.replace("x", rng.choice(("x", " x ", " by ")))
    return rng.choice(unit.queries).replace("{n}", number)
