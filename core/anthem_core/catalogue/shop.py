"""The shop's plan, read from `data/`: departments, sections, categories, types, and what their products can have."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

Path = tuple[str, ...]  # department, section, category, type

HOUSE_BRANDS = ("Merrow & Pike", "Goodnest")


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of measure, as titles write it and as shoppers do; `{n}` is the number."""

    name: str
    titles: tuple[str, ...]
    queries: tuple[str, ...]
    larger: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Attribute:
    """What a product can have: a key, its possible values (`12 in` with a unit), and the unit."""

    key: str
    values: tuple[str, ...]
    unit: Unit | None = None


@dataclass(frozen=True, slots=True)
class Type:
    """A leaf of the tree: its path, its names (the usual one first) and what its products have."""

    path: Path
    nouns: tuple[str, ...]
    attributes: tuple[Attribute, ...]
    brands: tuple[str, ...]
    models: bool
    near: Path | None = None  # the type that serves nearly as well
    part_of: Path | None = None  # the type it is an accessory of


@dataclass(frozen=True, slots=True)
class Node:
    """A department, section or category, and the names shoppers give it."""

    path: Path
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shop:
    """The whole plan."""

    types: tuple[Type, ...]
    nodes: tuple[Node, ...]
    units: dict[str, Unit]
    spoken: dict[str, tuple[str, ...]]  # value -> other ways of saying it


def load_shop() -> Shop:
    """Read the plan that comes with the package."""
    tables = {
        entry.name: tomllib.loads(entry.read_text("utf-8"))
        for entry in sorted((files(__package__) / "data").iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".toml")
    }
    common = tables.pop("attributes.toml")
    units = {name: _unit(name, table) for name, table in common["units"].items()}
    attributes = {name: _attribute(name, table, units) for name, table in common["attributes"].items()}
    spoken = {value: _parts(ways) for value, ways in common["spoken"].items()}
    paths = {path[-1]: path for table in tables.values() for path, _ in _leaves(table)}
    types: list[Type] = []
    nodes: list[Node] = []
    for table in tables.values():
        nodes += [Node(path, (path[-1].lower(), *_parts(inner.get("also", "")))) for path, inner in _inner(table)]
        types += _types(table, attributes, paths)
    return Shop(tuple(types), tuple(nodes), units, spoken)


def _parts(line: str, separator: str = "|") -> tuple[str, ...]:
    return tuple(part.strip() for part in line.split(separator) if part.strip())


def _unit(name: str, table: dict[str, str]) -> Unit:
    larger = table.get("larger", "").split()
    return Unit(
        name, _parts(table["titles"]), _parts(table["queries"]), (larger[0], int(larger[1])) if larger else None
    )


def _attribute(name: str, table: dict[str, str], units: dict[str, Unit]) -> Attribute:
    key = name.partition(".")[0]
    if "values" in table:
        return Attribute(key, _parts(table["values"]))
    unit = units[table["unit"]]
    return Attribute(key, tuple(f"{number} {unit.name}" for number in table["numbers"].split()), unit)


def _tables(table: dict[str, Any], path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every table from the department down."""
    yield path, table
    for name, inner in table.items():
        if isinstance(inner, dict):
            yield from _tables(inner, (*path, name))


def _inner(table: dict[str, Any]) -> list[tuple[Path, dict[str, Any]]]:
    return [(path, inner) for path, inner in _tables(table, (table["name"],)) if "nouns" not in inner]


def _leaves(table: dict[str, Any]) -> list[tuple[Path, dict[str, Any]]]:
    return [(path, leaf) for path, leaf in _tables(table, (table["name"],)) if "nouns" in leaf]


def _types(table: dict[str, Any], attributes: dict[str, Attribute], paths: dict[str, Path]) -> list[Type]:
    """All types of a department, each followed by its accessories."""
    brands = _parts(table["brands"]) + HOUSE_BRANDS
    types = []
    for path, leaf in _leaves(table):
        has = (Attribute("style", _parts(leaf["style"])), *(attributes[name] for name in _parts(leaf["with"], ",")))
        near = paths[leaf["near"]] if "near" in leaf else None
        models = leaf.get("models", table.get("models", False))
        main = Type(path, _parts(leaf["nouns"]), has, brands, models, near)
        types += [main, *(_accessory(main, part) for part in _parts(leaf.get("parts", "")))]
    return types


def _accessory(main: Type, part: str) -> Type:
    """Build what is sold beside a type under nearly its name: it bears the type's nouns and two of its attributes."""
    noun = main.nouns[0]
    nouns = (f"{noun} {part}", f"{part} for {noun}", *(f"{other} {part}" for other in main.nouns[1:]))
    return Type(
        (*main.path[:-1], nouns[0].title()), nouns, main.attributes[1:3], main.brands, main.models, part_of=main.path
    )
