"""The map of an example of a report: the region of its query, and where the first hits after reranking lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from anthem_evaluation.explain.map_geometry import place_labels
from anthem_evaluation.report import ExampleMap, MapSpot
from anthem_plugin.search.disk_map import map_titles
from anthem_plugin.search.map_words import describe_projection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthem_core.geometry.lorentz import Array
    from anthem_evaluation.report import ExampleHit
    from anthem_plugin.search.disk_map import DiskMap
    from anthem_plugin.search.title_explanation import TitleExplainer

VIEW_RADIUS = 100.0  # units from the middle of the picture to its edge
LABEL_SIZE = 17.0  # of a number, in the same units
_SPACE_AROUND = 1.15


def build_example_map(explainer: TitleExplainer, query: str, hits: Sequence[ExampleHit]) -> ExampleMap | None:
    """The map of hits, which are numbered from 1; None if the query has no letters or digits."""
    if explainer.encode_region(query) is None:
        return None
    shown = map_titles(explainer, [query], [hit.title for hit in hits])
    places = np.array([[point.x, -point.y] for point in shown.points]).reshape(-1, 2)  # SVG counts downwards
    outline, core = (np.array(corners) for corners in (shown.regions[0].outline, shown.regions[0].core))
    scale = VIEW_RADIUS / (_SPACE_AROUND * float(np.abs(np.vstack([outline, places])).max()))
    labels = place_labels(places * scale, LABEL_SIZE, [outline * scale])
    radius, core_radius = (round(float(np.linalg.norm(corners[0]) * scale), 1) for corners in (outline, core))
    spots = _place_spots(shown, hits, places * scale, labels)
    return ExampleMap(radius, core_radius, spots, describe_projection(shown.projection), shown.description)


def _place_spots(shown: DiskMap, hits: Sequence[ExampleHit], places: Array, labels: Array) -> tuple[MapSpot, ...]:
    spots = []
    for point, place, label in zip(shown.points, places.round(1).tolist(), labels.round(1).tolist(), strict=True):
        hit = hits[int(point.id) - 1]
        has_risen = hit.was is None or hit.was > int(point.id)
        spots.append(MapSpot(int(point.id), hit.title, hit.grade, tuple(place), tuple(label), point.inside, has_risen))
    return tuple(spots)
