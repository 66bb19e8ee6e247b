"""Reads the plan of the catalogue from `data/`: categories, product types, their attributes and units."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

CategoryPath = tuple[str, ...]  # department, section, category, type; a prefix names an inner node

HOUSE_BRANDS = ("Merrow & Pike", "Goodnest")


@dataclass(frozen=True, slots=True)
class MeasureUnit:
    """A unit of measure, with the forms used in titles and in queries; `{n}` is the number."""

    name: str
    titles: tuple[str, ...]
    queries: tuple[str, ...]
    larger: tuple[str, int] | None = None  # the next larger unit, and how many of this unit it holds


@dataclass(frozen=True, slots=True)
class ProductAttribute:
    """An attribute of products: its key, its possible values (such as `12 in` if it has a unit) and its unit."""

    key: str
    values: tuple[str, ...]
    unit: MeasureUnit | None = None


@dataclass(frozen=True, slots=True)
class ProductType:
    """A leaf of the category tree: its path, its names (the most common first) and what its products have."""

    path: CategoryPath
    nouns: tuple[str, ...]
    attributes: tuple[ProductAttribute, ...]
    brands: tuple[str, ...]
    has_models: bool
    substitute: CategoryPath | None = None  # another type that serves the same purpose almost as well
    accessory_of: CategoryPath | None = None


@dataclass(frozen=True, slots=True)
class CategoryNode:
    """A department, section or category, and its names in queries."""

    path: CategoryPath
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CataloguePlan:
    """Everything in `data/`."""

    types: tuple[ProductType, ...]
    categories: tuple[CategoryNode, ...]
    units: dict[str, MeasureUnit]
    spoken_forms: dict[str, tuple[str, ...]]  # attribute value -> other forms used in queries


def load_plan() -> CataloguePlan:
    """Read the plan from this package."""
    tables = {
        entry.name: tomllib.loads(entry.read_text("utf-8"))
        for entry in sorted((files(__package__) / "data").iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".toml")
    }
    common = tables.pop("attributes.toml")
    units = {name: _read_unit(name, table) for name, table in common["units"].items()}
    attributes = {name: _read_attribute(name, table, units) for name, table in common["attributes"].items()}
    spoken_forms = {value: _split_list(forms) for value, forms in common["spoken"].items()}
    paths = {path[-1]: path for table in tables.values() for path, _ in _type_tables(table)}
    types: list[ProductType] = []
    categories: list[CategoryNode] = []
    for table in tables.values():
        categories += [
            CategoryNode(path, (path[-1].lower(), *_split_list(category.get("also", ""))))
            for path, category in _category_tables(table)
        ]
        types += _read_types(table, attributes, paths)
    return CataloguePlan(tuple(types), tuple(categories), units, spoken_forms)


def _split_list(line: str, separator: str = "|") -> tuple[str, ...]:
    return tuple(part.strip() for part in line.split(separator) if part.strip())


def _read_unit(name: str, table: dict[str, str]) -> MeasureUnit:
    larger = table.get("larger", "").split()
    return MeasureUnit(
        name,
        titles=_split_list(table["titles"]),
        queries=_split_list(table["queries"]),
        larger=(larger[0], int(larger[1])) if larger else None,
    )


def _read_attribute(name: str, table: dict[str, str], units: dict[str, MeasureUnit]) -> ProductAttribute:
    key = name.partition(".")[0]
    if "values" in table:
        return ProductAttribute(key, _split_list(table["values"]))
    unit = units[table["unit"]]
    return ProductAttribute(key, tuple(f"{number} {unit.name}" for number in table["numbers"].split()), unit)


def _walk_tables(table: dict[str, Any], path: CategoryPath) -> Iterator[tuple[CategoryPath, dict[str, Any]]]:
    """Every table of a department, its own included, with its path."""
    yield path, table
    for name, inner in table.items():
        if isinstance(inner, dict):
            yield from _walk_tables(inner, (*path, name))


def _category_tables(table: dict[str, Any]) -> list[tuple[CategoryPath, dict[str, Any]]]:
    return [(path, inner) for path, inner in _walk_tables(table, (table["name"],)) if "nouns" not in inner]


def _type_tables(table: dict[str, Any]) -> list[tuple[CategoryPath, dict[str, Any]]]:
    return [(path, leaf) for path, leaf in _walk_tables(table, (table["name"],)) if "nouns" in leaf]


def _read_types(
    table: dict[str, Any], attributes: dict[str, ProductAttribute], paths: dict[str, CategoryPath]
) -> list[ProductType]:
    """All types of a department, each followed by its accessories."""
    brands = _split_list(table["brands"]) + HOUSE_BRANDS
    types = []
    for path, leaf in _type_tables(table):
        style = ProductAttribute("style", _split_list(leaf["style"]))
        main = ProductType(
            path,
            nouns=_split_list(leaf["nouns"]),
            attributes=(style, *(attributes[name] for name in _split_list(leaf["with"], ","))),
            brands=brands,
            has_models=leaf.get("models", table.get("models", False)),
            substitute=paths[leaf["near"]] if "near" in leaf else None,
        )
        types += [main, *(_build_accessory(main, part) for part in _split_list(leaf.get("parts", "")))]
    return types


def _build_accessory(main: ProductType, part: str) -> ProductType:
    """An accessory of a type, with a confusingly similar name: the type's nouns, and two of its attributes."""
    noun = main.nouns[0]
    nouns = (f"{noun} {part}", f"{part} for {noun}", *(f"{other} {part}" for other in main.nouns[1:]))
    return ProductType(
        (*main.path[:-1], nouns[0].title()),
        nouns,
        attributes=main.attributes[1:3],
        brands=main.brands,
        has_models=main.has_models,
        accessory_of=main.path,
    )
