"""What shoppers type: general and narrow, by type, attribute, brand, measure and model, rightly spelled and not."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from anthem_core.catalogue.spelling import misspelled

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

    from anthem_core.catalogue.items import Item
    from anthem_core.catalogue.shop import Attribute, Path, Shop, Type, Unit

# Kinds of query and how many of each at most; a kind asks for fewer where the shop has no more.
COUNTS = {
    "general": 120, "category": 170, "type": 280, "synonym": 240, "type+attribute": 360,
    "brand+type": 150, "unit": 260, "model": 130,
}  # fmt: skip
MISSPELLED = 300
FRACTIONS = {"1/2": "half 0.5", "1/4": "quarter 0.25", "3/4": "0.75", "1-1/4": "1.25", "1-1/2": "1.5"}


@dataclass(frozen=True, slots=True)
class Intent:
    """What a query asks: a place in the tree, and what a product there must have."""

    path: Path
    wants: dict[str, str] = field(default_factory=dict)
    brand: str | None = None
    model: str | None = None

    @property
    def constraints(self) -> int:
        """How many things beside the place are asked."""
        return len(self.wants) + (self.brand is not None) + (self.model is not None)


@dataclass(frozen=True, slots=True)
class Query:
    """A query: what is typed, what is meant, and of which kind it is."""

    id: str
    text: str
    kind: str
    intent: Intent
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


def key(text: str) -> str:
    """What two queries share that differ in case, order, marks or plural alone."""
    words = re.findall(r"\w+", text.casefold())
    return " ".join(sorted(word.removesuffix("s") or word for word in words))


def ask(shop: Shop, items: list[Item], rng: random.Random) -> list[Query]:
    """Ask every kind of query, no text twice."""
    queries: list[Query] = []
    taken: set[str] = set()
    for kind, count in COUNTS.items():
        made = 0
        for text, intent in _ASKERS[kind](shop, items, rng):
            if made < count and text not in taken:
                taken.add(text)
                made += 1
                queries.append(Query(f"Q{len(queries) + 1:04d}", text, kind, intent, text))
    return queries + _misspelled(queries, taken, rng)


def split(queries: list[Query], rng: random.Random) -> dict[str, str]:
    """Assign one fifth to dev, the rest to train; queries of one key, and misspelled twins, stay together.

    Returns:
        Query id to the name of its split.
    """
    keys = list(dict.fromkeys(key(query.meant) for query in queries))
    dev = set(rng.sample(keys, len(keys) // 5))
    return {query.id: "dev" if key(query.meant) in dev else "train" for query in queries}


def _misspelled(queries: list[Query], taken: set[str], rng: random.Random) -> list[Query]:
    twins: list[Query] = []
    keys = {key(text) for text in taken}
    known = [query for query in queries if query.kind != "model"]
    for twin in rng.sample(known, len(known)):
        text, error = misspelled(twin.text, rng)
        if len(twins) < MISSPELLED and key(text) not in keys:
            keys.add(key(text))
            name = f"Q{len(queries) + len(twins) + 1:04d}"
            details = {"error": error, "of": twin.id, "of_kind": twin.kind}
            twins.append(Query(name, text, "misspelled", twin.intent, twin.text, details))
    return twins


_Asked = tuple[str, Intent]


def _general(shop: Shop, _items: list[Item], rng: random.Random) -> Iterator[_Asked]:
    asked = [(name, Intent(node.path)) for node in shop.nodes if len(node.path) <= 2 for name in node.names]
    yield from rng.sample(asked, len(asked))


def _category(shop: Shop, _items: list[Item], rng: random.Random) -> Iterator[_Asked]:
    asked = [(name, Intent(node.path)) for node in shop.nodes if len(node.path) > 2 for name in node.names]
    yield from rng.sample(asked, len(asked))


def _type(shop: Shop, _items: list[Item], rng: random.Random) -> Iterator[_Asked]:
    for product_type in rng.sample(_mostly_main(shop, rng), len(shop.types) // 2):
        noun = product_type.nouns[0]
        yield noun if rng.random() < 0.7 else plural(noun), Intent(product_type.path)


def _synonym(shop: Shop, _items: list[Item], rng: random.Random) -> Iterator[_Asked]:
    asked = [(noun, Intent(each.path)) for each in _mostly_main(shop, rng) for noun in each.nouns[1:]]
    yield from rng.sample(asked, len(asked))


def _mostly_main(shop: Shop, rng: random.Random) -> list[Type]:
    return [each for each in shop.types if each.part_of is None or rng.random() < 0.2]


def _attribute(shop: Shop, items: list[Item], rng: random.Random) -> Iterator[_Asked]:
    for item in rng.sample(items, len(items)):
        has = [each for each in item.type.attributes if each.key in item.shown and each.unit is None]
        if has:
            chosen = rng.sample(has, min(len(has), rng.choice((1, 1, 2, 2, 3))))
            yield _phrase(shop, item, chosen, rng), Intent(item.type.path, _wants(item, chosen))


def _unit(shop: Shop, items: list[Item], rng: random.Random) -> Iterator[_Asked]:
    for item in rng.sample(items, len(items)):
        measures = [each for each in item.type.attributes if each.key in item.shown and each.unit]
        others = [each for each in item.type.attributes if each.key in item.shown and not each.unit]
        if measures:
            chosen = [rng.choice(measures), *rng.sample(others, min(len(others), rng.choice((0, 0, 1))))]
            yield _phrase(shop, item, chosen, rng), Intent(item.type.path, _wants(item, chosen))


def _brand(shop: Shop, items: list[Item], rng: random.Random) -> Iterator[_Asked]:
    for item in rng.sample(items, len(items)):
        has = [each for each in item.type.attributes if each.key in item.shown and each.unit is None]
        chosen = rng.sample(has, min(len(has), rng.choice((0, 0, 0, 1))))
        phrase, brand = (
            _phrase(shop, item, chosen, rng),
            item.brand.lower().replace(" & ", rng.choice((" & ", " and "))),
        )
        text = f"{brand} {phrase}" if rng.random() < 0.8 else f"{phrase} {brand}"
        yield text, Intent(item.type.path, _wants(item, chosen), item.brand)


def _model(_shop: Shop, items: list[Item], rng: random.Random) -> Iterator[_Asked]:
    for item in rng.sample(items, len(items)):
        if item.model is not None and "model" in item.shown:
            model = rng.choice((item.model, item.model.lower(), item.model.lower().replace("-", "")))
            form = rng.choice(("{m}", "{b} {m}", "{m} {n}", "{b} {m} {n}", "{b} {n} model {m}"))
            text = form.format(m=model, b=item.brand.lower(), n=item.type.nouns[0])
            yield text, Intent(item.type.path, {}, item.brand, item.model)


_ASKERS: dict[str, Callable[[Shop, list[Item], random.Random], Iterator[_Asked]]] = {
    "general": _general, "category": _category, "type": _type, "synonym": _synonym, "type+attribute": _attribute,
    "brand+type": _brand, "unit": _unit, "model": _model,
}  # fmt: skip


def plural(noun: str) -> str:
    """The plural where `s` or `es` makes it; the noun itself where it is one already."""
    if noun.endswith("s"):
        return noun
    return noun + ("es" if re.search("(x|ch|sh)$", noun) else "s")


def _wants(item: Item, chosen: list[Attribute]) -> dict[str, str]:
    return {attribute.key: item.values[attribute.key] for attribute in chosen}


def _phrase(shop: Shop, item: Item, chosen: list[Attribute], rng: random.Random) -> str:
    """Name a type with some of an item's attributes, in one of the orders in which people type."""
    noun = item.type.nouns[0] if rng.random() < 0.75 else rng.choice(item.type.nouns)
    said = [_said(shop, attribute, item.values[attribute.key], rng) for attribute in chosen]
    after = [words for words in said if words.startswith("for ") or rng.random() < 0.2]
    before = [words for words in said if words not in after]
    return " ".join([*before, noun if rng.random() < 0.85 else plural(noun), *after])


def _said(shop: Shop, attribute: Attribute, value: str, rng: random.Random) -> str:
    if attribute.unit is not None:
        return measured(shop, attribute.unit, value, rng)
    ways = shop.spoken.get(value, ())
    return rng.choice(ways) if ways and rng.random() < 0.4 else value


def measured(shop: Shop, unit: Unit, value: str, rng: random.Random) -> str:
    """Say a measure as shoppers do: `1/2 in` -> `half inch`, `12x24 in` -> `12 by 24 inches`, `24 in` -> `2 ft`."""
    number = value.partition(" ")[0]
    if unit.larger and number.isdecimal() and int(number) % unit.larger[1] == 0 and rng.random() < 0.4:
        number, unit = str(int(number) // unit.larger[1]), shop.units[unit.larger[0]]
    number = rng.choice((number, *FRACTIONS.get(number, "").split()))
    number = number.replace("x", rng.choice(("x", " x ", " by ")))
    return rng.choice(unit.queries).replace("{n}", number)
