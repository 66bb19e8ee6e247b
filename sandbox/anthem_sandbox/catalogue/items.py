"""The stock: products as the shop knows them, and the titles under which it sells them."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anthem_core.beir import Product

if TYPE_CHECKING:
    import random

    from anthem_sandbox.catalogue.plan import CataloguePlan, CategoryPath, ProductAttribute, ProductType

TITLE_ATTRIBUTE_PROBABILITY = 0.85  # of a product's attributes stand in its title
PRODUCT_LINES = (
    "Harlow",
    "Summit",
    "Aria",
    "Kingsley",
    "Terrace",
    "Nova",
    "Juno",
    "Arden",
    "Vista",
    "Classic II",
    "Pro",
    "Eco",
)
PRAISE_WORDS = ("Premium", "Heavy-Duty", "Deluxe", "Professional", "Everyday", "Modern", "Original", "Best Value")
UPPERCASE_WORDS = frozenset("rc tv usb led pvc ac ssd gps bbq spf oled gfci hdd mtb sd pc uhs 4k".split())  # noqa: SIM905
LOWERCASE_WORDS = {"and", "with", "for", "by", "of", "in"}

# How shops order a title: (what parts it from the text before, the fields in it). Empty segments fall out.
TITLE_LAYOUTS = (
    (("", "brand line model dims lead words noun pack"), (", ", "tail"), (" - ", "shelf")),
    (("", "brand lead words noun"), (", ", "dims"), (", ", "tail"), (" ", "pack"), (" - ", "shelf"), (" - ", "model")),
    (("", "brand model lead noun"), (" - ", "dims"), (", ", "words"), (", ", "tail pack"), (", ", "also shelf")),
    (
        ("", "praise lead words noun"),
        (" by ", "brand"),
        (", ", "dims tail pack"),
        (" | ", "shelf also"),
        (" ", "model"),
    ),
    (("", "line lead words noun dims"), (", ", "tail"), (" for ", "shelf"), (" ", "pack"), (" - ", "brand model")),
    (
        ("", "brand lead noun praise words"),
        (", ", "tail"),
        (" (", "dims)"),
        (" ", "model pack"),
        (", ", "also"),
        (" for ", "shelf"),
    ),
)


@dataclass(frozen=True, slots=True)
class CatalogueItem:
    """One product as the shop knows it; judgments look here and nowhere else."""

    id: str
    type: ProductType
    brand: str
    model: str | None
    values: dict[str, str]
    shown: frozenset[str]  # keys whose values the title bears, and "model"
    title: str

    def product(self) -> Product:
        """The product as the BEIR folder holds it."""
        metadata = {"category": list(self.type.path), "brand": self.brand, "attributes": self.values}
        return Product(self.id, self.title, metadata=metadata | ({"model": self.model} if self.model else {}))


def create_items(shop: CataloguePlan, count: int, rng: random.Random) -> list[CatalogueItem]:
    """Fill the shelves with `count` products in shuffled order, so that neither id nor place tells the category.

    Raises:
        ValueError: There are fewer products than types.
    """
    if count < len(shop.types):
        raise ValueError(f"{count} products cannot fill {len(shop.types)} types; ask for {len(shop.types)} or more.")
    shelves = _allocate_types(shop.types, count)
    rng.shuffle(shelves)
    maker = _ItemFactory(shop, rng)
    return [maker.item(f"P{number:05d}", product_type) for number, product_type in enumerate(shelves, start=1)]


def _allocate_types(types: tuple[ProductType, ...], count: int) -> list[ProductType]:
    """One product of every type; the rest by weight, an accessory a quarter of the thing it belongs to."""
    weights = [1 if product_type.part_of else 4 for product_type in types]
    spare, total = count - len(types), sum(weights)
    shelves, before = list(types), 0
    for product_type, weight in zip(types, weights, strict=True):
        after = before + weight
        shelves += [product_type] * (spare * after // total - spare * before // total)
        before = after
    return shelves


class _ItemFactory:
    """Makes items one by one; remembers which titles and model numbers are taken."""

    def __init__(self, shop: CataloguePlan, rng: random.Random) -> None:
        self.rng = rng
        brands = sorted({brand for product_type in shop.types for brand in product_type.brands})
        self.habits = {brand: rng.randrange(60) for brand in brands}
        self.series = {brand: [rng.randrange(10, 99) for _ in range(4)] for brand in brands}
        self.affinity: dict[CategoryPath, list[str]] = {}
        self.models: set[str] = set()
        self.titles: Counter[str] = Counter()

    def item(self, name: str, product_type: ProductType) -> CatalogueItem:
        """Make one product; a title that is taken is tried again with other values."""
        for _ in range(4):
            brand = self.rng.choice(self._brands(product_type))
            model = self._model(brand) if product_type.models else None
            values = {attribute.key: self.rng.choice(attribute.values) for attribute in product_type.attributes}
            shown = self._shown(values, model)
            title = self._title(product_type, brand, model, values, shown)
            if not self.titles[title]:
                break
        self.titles[title] += 1
        return CatalogueItem(name, product_type, brand, model, values, shown, title)

    def _brands(self, product_type: ProductType) -> list[str]:
        section = product_type.path[:2]
        if section not in self.affinity:
            self.affinity[section] = self.rng.sample(product_type.brands, 6)
        return self.affinity[section]

    def _model(self, brand: str) -> str:
        """Letters of the brand, one of its few series, a number: models of one series differ late."""
        letters = re.sub("[^A-Z]", "", brand.upper())
        prefix = letters[0] + letters[2] + ("" if self.habits[brand] % 2 else letters[4])
        while True:
            mark = "-" if self.habits[brand] % 3 == 0 else ""
            number = f"{self.rng.choice(self.series[brand])}{self.rng.randrange(100):02d}"
            model = f"{prefix}{mark}{number}{self.rng.choice(('', '', 'B', 'S', 'X', 'K'))}"
            if model not in self.models:
                self.models.add(model)
                return model

    def _shown(self, values: dict[str, str], model: str | None) -> frozenset[str]:
        keys = [
            key
            for key, value in values.items()
            if value != "1 pack" and self.rng.random() < TITLE_ATTRIBUTE_PROBABILITY
        ]
        return frozenset(keys + (["model"] if model and self.rng.random() < 0.6 else []))

    def _title(
        self, product_type: ProductType, brand: str, model: str | None, values: dict[str, str], shown: frozenset[str]
    ) -> str:
        rng = self.rng
        fields: dict[str, list[str]] = {"brand": [brand], "model": [model] if model and "model" in shown else []}
        fields["noun"] = [title_case(product_type.nouns[0] if rng.random() < 0.65 else rng.choice(product_type.nouns))]
        fields["line"] = [rng.choice(PRODUCT_LINES)] if rng.random() < 0.3 else []
        fields["praise"] = [rng.choice(PRAISE_WORDS)] if rng.random() < 0.4 else []
        fields["also"] = [title_case(rng.choice(product_type.nouns))] if rng.random() < 0.25 else []
        fields["shelf"] = [rng.choice(product_type.path[1:3])] if rng.random() < 0.15 else []
        for attribute in product_type.attributes:
            if attribute.key in shown:
                fields.setdefault(_title_field(attribute, values), []).append(self._written(attribute, values, brand))
        rng.shuffle(fields.get("words", []))
        order = TITLE_LAYOUTS[(self.habits[brand] if rng.random() < 0.5 else rng.randrange(60)) % len(TITLE_LAYOUTS)]
        return join_title(order, fields)

    def _written(self, attribute: ProductAttribute, values: dict[str, str], brand: str) -> str:
        """Write a value as this brand does: `12 in`, `12 in.`, `12-Inch`."""
        value = values[attribute.key]
        if attribute.unit is None:
            return title_case(value)
        forms = attribute.unit.titles
        form = forms[(self.habits[brand] if self.rng.random() < 0.8 else self.rng.randrange(60)) % len(forms)]
        return " x ".join(form.replace("{n}", number) for number in value.partition(" ")[0].split("x"))


def _title_field(attribute: ProductAttribute, values: dict[str, str]) -> str:
    """Which field of a title an attribute goes to."""
    if attribute.unit is not None:
        return "pack" if attribute.unit.name == "pack" else "dims"
    if values[attribute.key].startswith("for ") or attribute.key == "size":
        return "tail"
    return "lead" if attribute.key == "audience" else "words"


def join_title(order: tuple[tuple[str, str], ...], fields: dict[str, list[str]]) -> str:
    """Join the segments of a title that have something in them."""
    title = ""
    for mark, names in order:
        words = [word for name in names.rstrip(")").split() for word in fields.get(name, [])]
        if words:
            title += (mark if title else "") + " ".join(words) + (")" if names.endswith(")") else "")
    return title


def title_case(phrase: str) -> str:
    """Write a phrase as titles do: `usb flash drive` becomes `USB Flash Drive`."""

    def one(match: re.Match[str]) -> str:
        word = match.group()
        return (
            word if word in LOWERCASE_WORDS else word.upper() if word in UPPERCASE_WORDS else word[0].upper() + word[1:]
        )

    return re.sub(r"[\w']+", one, phrase)
