"""The shop's plan, read from `data/`: departments, sections, categories, types, and what their products can have."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

CategoryPath = tuple[str, ...]  # department, section, category, type

HOUSE_BRANDS = ("Merrow & Pike", "Goodnest")


@dataclass(frozen=True, slots=True)
class MeasureUnit:
    """A unit of measure, as titles write it and as shoppers do; `{n}` is the number."""

    name: str
    titles: tuple[str, ...]
    queries: tuple[str, ...]
    larger: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class ProductAttribute:
    """What a product can have: a key, its possible values (`12 in` with a unit), and the unit."""

    key: str
    values: tuple[str, ...]
    unit: MeasureUnit | None = None


@dataclass(frozen=True, slots=True)
class ProductType:
    """A leaf of the tree: its path, its names (the usual one first) and what its products have."""

    path: CategoryPath
    nouns: tuple[str, ...]
    attributes: tuple[ProductAttribute, ...]
    brands: tuple[str, ...]
    models: bool
    near: CategoryPath | None = None  # the type that serves nearly as well
    part_of: CategoryPath | None = None  # the type it is an accessory of


@dataclass(frozen=True, slots=True)
class CategoryNode:
    """A department, section or category, and the names shoppers give it."""

    path: CategoryPath
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CataloguePlan:
    """The whole plan."""

    types: tuple[ProductType, ...]
    nodes: tuple[CategoryNode, ...]
    units: dict[str, MeasureUnit]
    spoken: dict[str, tuple[str, ...]]  # value -> other ways of saying it


def load_plan() -> CataloguePlan:
    """Read the plan that comes with the package."""
    tables = {
        entry.name: tomllib.loads(entry.read_text("utf-8"))
        for entry in sorted((files(__package__) / "data").iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".toml")
    }
    common = tables.pop("attributes.toml")
    units = {name: _read_unit(name, table) for name, table in common["units"].items()}
    attributes = {name: _read_attribute(name, table, units) for name, table in common["attributes"].items()}
    spoken = {value: _split_list(ways) for value, ways in common["spoken"].items()}
    paths = {path[-1]: path for table in tables.values() for path, _ in _type_tables(table)}
    types: list[ProductType] = []
    nodes: list[CategoryNode] = []
    for table in tables.values():
        nodes += [
            CategoryNode(path, (path[-1].lower(), *_split_list(inner.get("also", ""))))
            for path, inner in _category_tables(table)
        ]
        types += _read_types(table, attributes, paths)
    return CataloguePlan(tuple(types), tuple(nodes), units, spoken)


def _split_list(line: str, separator: str = "|") -> tuple[str, ...]:
    return tuple(part.strip() for part in line.split(separator) if part.strip())


def _read_unit(name: str, table: dict[str, str]) -> MeasureUnit:
    larger = table.get("larger", "").split()
    return MeasureUnit(
        name,
        _split_list(table["titles"]),
        _split_list(table["queries"]),
        (larger[0], int(larger[1])) if larger else None,
    )


def _read_attribute(name: str, table: dict[str, str], units: dict[str, MeasureUnit]) -> ProductAttribute:
    key = name.partition(".")[0]
    if "values" in table:
        return ProductAttribute(key, _split_list(table["values"]))
    unit = units[table["unit"]]
    return ProductAttribute(key, tuple(f"{number} {unit.name}" for number in table["numbers"].split()), unit)


def _walk_tables(table: dict[str, Any], path: CategoryPath) -> Iterator[tuple[CategoryPath, dict[str, Any]]]:
    """Every table from the department down."""
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
        has = (
            ProductAttribute("style", _split_list(leaf["style"])),
            *(attributes[name] for name in _split_list(leaf["with"], ",")),
        )
        near = paths[leaf["near"]] if "near" in leaf else None
        models = leaf.get("models", table.get("models", False))
        main = ProductType(path, _split_list(leaf["nouns"]), has, brands, models, near)
        types += [main, *(_build_accessory(main, part) for part in _split_list(leaf.get("parts", "")))]
    return types


def _build_accessory(main: ProductType, part: str) -> ProductType:
    """Build what is sold beside a type under nearly its name: it bears the type's nouns and two of its attributes."""
    noun = main.nouns[0]
    nouns = (f"{noun} {part}", f"{part} for {noun}", *(f"{other} {part}" for other in main.nouns[1:]))
    return ProductType(
        (*main.path[:-1], nouns[0].title()), nouns, main.attributes[1:3], main.brands, main.models, part_of=main.path
    )
