"""A map of queries and products as plain data: regions and points in the Poincaré disk, and how true the map is.

A query's region is a box in as many dimensions as the model has. The map shows how far out a product lies in the box,
`max_i |z_i| / (l_i + slack)`, as its distance from the query, so the box becomes a disk, and what is drawn inside is
contained. The distances between products are as true as two dimensions allow; their errors are part of the map.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import reduce
from operator import and_, or_
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from anthem_core.errors import DataError
from anthem_core.geometry.gauge import gauge, reach
from anthem_core.geometry.lorentz import dist, logmap0
from anthem_core.geometry.poincare import mobius_add
from anthem_core.geometry.regions import EncodedQuery
from anthem_plugin.scoring.params import to_float64
from anthem_plugin.search.disk_layout import WantedPlaces, measure_errors
from anthem_plugin.search.map_words import describe_map

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthem_core.geometry.lorentz import Array
    from anthem_core.geometry.regions import Region
    from anthem_plugin.scoring.params import ScoringParams
    from anthem_plugin.search.title_explanation import TitleExplainer

MapMark: TypeAlias = Literal["product", "relevant", "irrelevant", "moved up"]

PROJECTION = "multidimensional scaling in the Poincaré disk"
MAX_MAP_PRODUCTS = 200
OUTLINE_CORNERS = 96


@dataclass(frozen=True, slots=True)
class NamedRegion:
    """A region and what the map calls it: an encoded query, or a join of encoded queries that are on the map too."""

    name: str
    region: Region


@dataclass(frozen=True, slots=True)
class MapProduct:
    """A product to show: its point `(D+1,)`, and what a search did with it."""

    id: str
    title: str
    point: Array
    mark: MapMark = "product"


@dataclass(frozen=True, slots=True)
class MapRegion:
    """A query on the map.

    Attributes:
        name: The query.
        size: Its size, the mean of its limits; more general queries have a larger one.
        depth: Distance of its centre from the origin of the space.
        centre: Place of its centre on the map.
        outline: Corners of its region with the slack; the first is not repeated.
        core: Corners of its region without the slack.
        inside: Ids of the products that it contains.
        holds: Names of the other queries whose centres it contains.
    """

    name: str
    size: float
    depth: float
    centre: list[float]
    outline: list[list[float]]
    core: list[list[float]]
    inside: list[str]
    holds: list[str]


@dataclass(frozen=True, slots=True)
class MapJoin:
    """A union or intersection: what lies in all regions of one of its alternatives, which are places in `regions`."""

    name: str
    alternatives: list[list[int]]
    inside: list[str]


@dataclass(frozen=True, slots=True)
class MapPoint:
    """A product on the map: `distance` is its true distance from the first query's centre, `inside` the first region's.

    `inside_of` has the names of all regions and joins that contain it.
    """

    id: str
    title: str
    x: float
    y: float
    inside: bool
    inside_of: list[str]
    distance: float
    mark: MapMark


@dataclass(frozen=True, slots=True)
class MapProjection:
    """How the map was made and how true it is.

    `mean_error` and `largest_error` are relative errors of the geodesic distances between all points and centres.
    `wrong_sides` of `sides` pairs of a region and a product are on the wrong side of the region's outline.
    """

    name: str
    mean_error: float
    largest_error: float
    wrong_sides: int
    sides: int


@dataclass(frozen=True, slots=True)
class DiskMap:
    """Queries and products in the unit disk, x to the right, y up."""

    projection: MapProjection
    regions: list[MapRegion]
    joins: list[MapJoin]
    points: list[MapPoint]

    @property
    def description(self) -> str:
        """What the map shows, in words."""
        return describe_map(self)

    def to_dict(self) -> dict[str, Any]:
        """Values by name, the description included."""
        return {**asdict(self), "description": self.description}


def map_titles(
    explainer: TitleExplainer,
    queries: Sequence[str],
    titles: Sequence[str],
    *,
    ids: Sequence[str] | None = None,
    marks: Sequence[MapMark] | None = None,
    join: Literal["union", "intersection"] | None = None,
) -> DiskMap:
    """Map of titles and of one query or several, of which the first is in the middle.

    Titles without letters or digits are left out. `join` adds the union or the intersection of all queries. Ids default
    to the places of the titles, from 1.

    Raises:
        DataError: A query has no letters or digits, or there are too many titles.
    """
    regions = [NamedRegion(query, _encode(explainer, query)) for query in dict.fromkeys(queries)]
    if join and len(regions) > 1:
        joined = reduce(or_ if join == "union" else and_, (each.region for each in regions))
        name = (" or " if join == "union" else " and ").join(each.name for each in regions)
        regions.append(NamedRegion(name, joined))
    names = ids or [str(number) for number in range(1, len(titles) + 1)]
    given: Sequence[MapMark] = marks or ["product"] * len(titles)
    found = zip(names, titles, explainer.encode_points(titles), given, strict=True)
    products = [MapProduct(name, title, point, mark) for name, title, point, mark in found if point is not None]
    return build_map(regions, products, explainer.scoring)


def _encode(explainer: TitleExplainer, query: str) -> Region:
    region = explainer.encode_region(query)
    if region is None:
        raise DataError(f"The query {query!r} has no letters or digits, so it has no place on a map.")
    return region


def build_map(regions: Sequence[NamedRegion], products: Sequence[MapProduct], scoring: ScoringParams) -> DiskMap:
    """Map of products and regions; the first encoded query among the regions lies in the middle.

    Raises:
        DataError: There is no query, a join is made of queries that are not on the map, or there are too many products.
    """
    if len(products) > MAX_MAP_PRODUCTS:
        raise DataError(f"{len(products)} products are too many for a map; expected at most {MAX_MAP_PRODUCTS}.")
    drawn = [each for each in regions if isinstance(each.region, EncodedQuery)]
    if not drawn:
        raise DataError("A map needs a query; there is none.")
    queries = [to_float64(each.region).queries()[0] for each in drawn]
    centres = np.array([query.centres[np.argmax(query.weights)] for query in queries])
    points = np.vstack([centres, *(product.point[None] for product in products)])
    gauges = np.array([gauge(query, points, scoring.slack) for query in queries])
    true = dist(points[:, None], points[None])
    wanted = _want_places(queries, gauges, true, scoring.slack)
    places = wanted.place()
    shown = _show_regions(drawn, places, gauges, products, scoring.slack)
    joins = [_show_join(each, drawn, shown, products) for each in regions if not isinstance(each.region, EncodedQuery)]
    errors, sides = measure_errors(places, true), len(queries) * len(products)
    projection = MapProjection(PROJECTION, *errors, wanted.wrong_sides(places), sides)
    return DiskMap(projection, shown, joins, _show_points(products, places[len(drawn) :], true[0], shown, joins))


def _want_places(queries: Sequence[EncodedQuery], gauges: Array, true: Array, slack: float) -> WantedPlaces:
    """True distances, but from a query to a product its gauge, in which the edge of a region is as far as its reach.

    So are those from the first query to the others, which its region may contain.
    """
    count, distances = len(queries), true.copy()
    reaches = np.array([reach(query, slack) for query in queries])
    distances[:count, count:] = gauges[:, count:] * reaches[:, None]
    distances[0, 1:count] = gauges[0, 1:count] * reaches[0]
    for row in range(count):
        distances[:, row] = distances[row]
    return WantedPlaces(distances, reaches)


def _show_regions(
    drawn: Sequence[NamedRegion], places: Array, gauges: Array, products: Sequence[MapProduct], slack: float
) -> list[MapRegion]:
    shown = []
    for number, (each, held) in enumerate(zip(drawn, gauges <= 1, strict=True)):
        (query,) = each.region.queries()
        outline, core = (_draw_ring(places[number], reach(query, extra)) for extra in (slack, 0.0))
        inside = [product.id for product, is_held in zip(products, held[len(drawn) :], strict=True) if is_held]
        holds = [other.name for other, is_held in zip(drawn, held, strict=False) if is_held and other is not each]
        depth = float(np.linalg.norm(logmap0(query.centres[np.argmax(query.weights)])))
        shown.append(MapRegion(each.name, query.size, depth, places[number].tolist(), outline, core, inside, holds))
    return shown


def _draw_ring(centre: Array, radius: float) -> list[list[float]]:
    """Corners of the circle with a geodesic radius around a place."""
    turns = np.arange(OUTLINE_CORNERS) * (2 * np.pi / OUTLINE_CORNERS)
    ring = np.tanh(radius / 2) * np.stack([np.cos(turns), np.sin(turns)], axis=-1)
    corners: list[list[float]] = mobius_add(centre, ring).tolist()
    return corners


def _show_join(
    join: NamedRegion, drawn: Sequence[NamedRegion], shown: Sequence[MapRegion], products: Sequence[MapProduct]
) -> MapJoin:
    """A join by the places of its queries.

    Raises:
        DataError: One of them is not on the map.
    """
    places = {id(each.region): place for place, each in enumerate(drawn)}
    parts = [places[id(query)] for query in join.region.queries() if id(query) in places]
    if len(parts) < len(join.region.queries()):
        raise DataError(f"'{join.name}' is made of queries that are not on the map; add them.")
    alternatives = [sorted({parts[number] for number in numbers}) for numbers in join.region.alternatives()]
    inside = [set(region.inside) for region in shown]
    held = set[str]().union(*(set.intersection(*(inside[place] for place in chosen)) for chosen in alternatives))
    return MapJoin(join.name, alternatives, [product.id for product in products if product.id in held])


def _show_points(
    products: Sequence[MapProduct],
    places: Array,
    distances: Array,
    regions: Sequence[MapRegion],
    joins: Sequence[MapJoin],
) -> list[MapPoint]:
    first = len(distances) - len(products)
    points = []
    for number, product in enumerate(products):
        names = [region.name for region in regions if product.id in region.inside]
        names += [join.name for join in joins if product.id in join.inside]
        x, y = places[number].tolist()
        distance, is_inside = float(distances[first + number]), product.id in regions[0].inside
        points.append(MapPoint(product.id, product.title, x, y, is_inside, names, distance, product.mark))
    return points
