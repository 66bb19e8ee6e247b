"""Creates the products of the catalogue and the titles under which they are sold."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anthem_core.beir import Product

if TYPE_CHECKING:
    import random

    from anthem_sandbox.catalogue.plan import CataloguePlan, CategoryPath, ProductAttribute, ProductType

TITLE_ATTRIBUTE_PROBABILITY = 0.85  # that a title contains an attribute of the product
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

# Each layout is a sequence of segments (separator, fields). Empty segments are omitted. A `)` after the fields closes
# a parenthesis that the separator opens.
TITLE_LAYOUTS = (
    (("", "brand line model measures audience values noun pack"), (", ", "purpose"), (" - ", "category")),
    (
        ("", "brand audience values noun"),
        (", ", "measures"),
        (", ", "purpose"),
        (" ", "pack"),
        (" - ", "category"),
        (" - ", "model"),
    ),
    (
        ("", "brand model audience noun"),
        (" - ", "measures"),
        (", ", "values"),
        (", ", "purpose pack"),
        (", ", "synonym category"),
    ),
    (
        ("", "praise audience values noun"),
        (" by ", "brand"),
        (", ", "measures purpose pack"),
        (" | ", "category synonym"),
        (" ", "model"),
    ),
    (
        ("", "line audience values noun measures"),
        (", ", "purpose"),
        (" for ", "category"),
        (" ", "pack"),
        (" - ", "brand model"),
    ),
    (
        ("", "brand audience noun praise values"),
        (", ", "purpose"),
        (" (", "measures)"),
        (" ", "model pack"),
        (", ", "synonym"),
        (" for ", "category"),
    ),
)


@dataclass(frozen=True, slots=True)
class CatalogueItem:
    """One product with everything that the judgments depend on."""

    id: str
    type: ProductType
    brand: str
    model: str | None
    values: dict[str, str]
    keys_in_title: frozenset[str]  # attribute keys whose values the title contains, and "model"
    title: str

    def to_product(self) -> Product:
        """The product as stored in a BEIR folder."""
        metadata = {"category": list(self.type.path), "brand": self.brand, "attributes": self.values}
        return Product(self.id, self.title, metadata=metadata | ({"model": self.model} if self.model else {}))


def create_items(plan: CataloguePlan, count: int, rng: random.Random) -> list[CatalogueItem]:
    """Create `count` products in shuffled order, so that neither id nor position reveals the category.

    Raises:
        ValueError: `count` is less than the number of types.
    """
    if count < len(plan.types):
        raise ValueError(
            f"{count} products are too few: each of the {len(plan.types)} types needs one. "
            f"Request at least {len(plan.types)}."
        )
    types = _allocate_types(plan.types, count)
    rng.shuffle(types)
    factory = _ItemFactory(plan, rng)
    return [factory.create(f"P{number:05d}", product_type) for number, product_type in enumerate(types, start=1)]


def _allocate_types(types: tuple[ProductType, ...], count: int) -> list[ProductType]:
    """The type of each product: every type once, the rest by weight. An accessory weighs a quarter of a main type."""
    weights = [1 if product_type.accessory_of else 4 for product_type in types]
    remaining, total = count - len(types), sum(weights)
    allocated, start = list(types), 0
    for product_type, weight in zip(types, weights, strict=True):
        end = start + weight
        allocated += [product_type] * (remaining * end // total - remaining * start // total)
        start = end
    return allocated


class _ItemFactory:
    """Creates items one by one, and keeps model numbers unique and titles nearly so."""

    def __init__(self, plan: CataloguePlan, rng: random.Random) -> None:
        self.rng = rng
        brands = sorted({brand for product_type in plan.types for brand in product_type.brands})
        self.brand_styles = {brand: rng.randrange(60) for brand in brands}  # selects a brand's layout and unit forms
        self.brand_series = {brand: [rng.randrange(10, 99) for _ in range(4)] for brand in brands}
        self.brands_by_section: dict[CategoryPath, list[str]] = {}
        self.models: set[str] = set()
        self.titles: Counter[str] = Counter()

    def create(self, item_id: str, product_type: ProductType) -> CatalogueItem:
        """Create one item. A title that already exists is tried again, up to three times, with other values."""
        for _ in range(4):
            brand = self.rng.choice(self._section_brands(product_type))
            model = self._create_model(brand) if product_type.has_models else None
            values = {attribute.key: self.rng.choice(attribute.values) for attribute in product_type.attributes}
            keys_in_title = self._choose_keys(values, model)
            title = self._write_title(product_type, brand, model, values, keys_in_title)
            if not self.titles[title]:
                break
        self.titles[title] += 1
        return CatalogueItem(item_id, product_type, brand, model, values, keys_in_title, title)

    def _section_brands(self, product_type: ProductType) -> list[str]:
        """The six brands of a section, drawn from those of its department."""
        section = product_type.path[:2]
        if section not in self.brands_by_section:
            self.brands_by_section[section] = self.rng.sample(product_type.brands, 6)
        return self.brands_by_section[section]

    def _create_model(self, brand: str) -> str:
        """A model number: letters of the brand, one of its series, a number. Models of a series differ at the end."""
        letters = re.sub("[^A-Z]", "", brand.upper())
        prefix = letters[0] + letters[2] + ("" if self.brand_styles[brand] % 2 else letters[4])
        while True:
            hyphen = "-" if self.brand_styles[brand] % 3 == 0 else ""
            number = f"{self.rng.choice(self.brand_series[brand])}{self.rng.randrange(100):02d}"
            model = f"{prefix}{hyphen}{number}{self.rng.choice(('', '', 'B', 'S', 'X', 'K'))}"
            if model not in self.models:
                self.models.add(model)
                return model

    def _choose_keys(self, values: dict[str, str], model: str | None) -> frozenset[str]:
        """The attribute keys whose values the title contains, and "model" if it contains the model number."""
        keys = [
            key
            for key, value in values.items()
            if value != "1 pack" and self.rng.random() < TITLE_ATTRIBUTE_PROBABILITY
        ]
        return frozenset(keys + (["model"] if model and self.rng.random() < 0.6 else []))

    def _write_title(
        self,
        product_type: ProductType,
        brand: str,
        model: str | None,
        values: dict[str, str],
        keys_in_title: frozenset[str],
    ) -> str:
        rng, nouns = self.rng, product_type.nouns
        fields: dict[str, list[str]] = {
            "brand": [brand],
            "model": [model] if model and "model" in keys_in_title else [],
        }
        fields["noun"] = [title_case(nouns[0] if rng.random() < 0.65 else rng.choice(nouns))]
        fields["line"] = [rng.choice(PRODUCT_LINES)] if rng.random() < 0.3 else []
        fields["praise"] = [rng.choice(PRAISE_WORDS)] if rng.random() < 0.4 else []
        fields["synonym"] = [title_case(rng.choice(nouns))] if rng.random() < 0.25 else []
        fields["category"] = [rng.choice(product_type.path[1:3])] if rng.random() < 0.15 else []
        for attribute in product_type.attributes:
            if attribute.key in keys_in_title:
                value = self._write_value(attribute, values[attribute.key], brand)
                fields.setdefault(_title_field(attribute, values), []).append(value)
        rng.shuffle(fields.get("values", []))
        style = self.brand_styles[brand] if rng.random() < 0.5 else rng.randrange(60)
        return join_title(TITLE_LAYOUTS[style % len(TITLE_LAYOUTS)], fields)

    def _write_value(self, attribute: ProductAttribute, value: str, brand: str) -> str:
        """Write a value in the style of the brand: `12 in`, `12 in.`, `12-Inch`."""
        if attribute.unit is None:
            return title_case(value)
        forms = attribute.unit.titles
        style = self.brand_styles[brand] if self.rng.random() < 0.8 else self.rng.randrange(60)
        form = forms[style % len(forms)]
        return " x ".join(form.replace("{n}", number) for number in value.partition(" ")[0].split("x"))


def _title_field(attribute: ProductAttribute, values: dict[str, str]) -> str:
    """The field of a title to which an attribute belongs."""
    if attribute.unit is not None:
        return "pack" if attribute.unit.name == "pack" else "measures"
    if values[attribute.key].startswith("for ") or attribute.key == "size":
        return "purpose"
    return "audience" if attribute.key == "audience" else "values"


def join_title(layout: tuple[tuple[str, str], ...], fields: dict[str, list[str]]) -> str:
    """Join the segments of a layout that are not empty."""
    title = ""
    for separator, names in layout:
        words = [word for name in names.rstrip(")").split() for word in fields.get(name, [])]
        if words:
            title += (separator if title else "") + " ".join(words) + (")" if names.endswith(")") else "")
    return title


def title_case(phrase: str) -> str:
    """Capitalise a phrase as in a title: `usb flash drive` becomes `USB Flash Drive`."""

    def capitalise(match: re.Match[str]) -> str:
        word = match.group()
        if word in LOWERCASE_WORDS:
            return word
        return word.upper() if word in UPPERCASE_WORDS else word[0].upper() + word[1:]

    return re.sub(r"[\w']+", capitalise, phrase)
