// The map: the Poincaré disk with the region of the query, and the products as points.

import { create, createSvg } from "./elements.js";
import { shorten } from "./words.js";

const EDGE = 1.04;
const LABEL_SIZE = 0.062; // as in the style sheet, for wide pages
const LABEL_CHARACTERS = 24;
const LABEL_GAP = 0.035;
const POINT_SIZE = 0.022;

/** The picture with its text alternative. `marks` has the kind of movement by id; `chosen` is the id to point out. */
export function drawMap(map, marks, chosen) {
  const view = `${-EDGE} ${-EDGE} ${2 * EDGE} ${2 * EDGE}`;
  const svg = createSvg("svg", { class: "map", viewBox: view, role: "img", "aria-labelledby": "map-words" });
  svg.append(createSvg("circle", { class: "disk", r: 1 }));
  map.regions.forEach((region, number) => svg.append(outline(region, number === 0)));
  const points = [...map.points].sort((one, other) => (one.id === chosen) - (other.id === chosen));
  svg.append(...points.map((point) => drawPoint(point, marks.get(point.id), point.id === chosen)));
  svg.append(...map.regions.map((region, number) => label(region, wayFrom(points, region.centre), number === 0)));
  const words = create("figcaption", { id: "map-words" }, map.description);
  const legend = create("p", { class: "quiet" }, "◆ this product, ▲ moved up, ▼ moved down, ● did not move");
  return create("figure", {}, svg, legend, words);
}

function outline(region, isQuery) {
  const corners = region.outline.map(([x, y]) => `${x.toFixed(4)} ${(-y).toFixed(4)}`);
  const shape = createSvg("path", { class: isQuery ? "region query" : "region", d: `M${corners.join("L")}Z` });
  shape.append(createSvg("title", {}, region.name));
  return shape;
}

/** The name of a region outside its outline, on the side that is away from the products. */
function label(region, way, isQuery) {
  const along = ([x, y]) => x * way[0] + y * way[1];
  const edge = region.outline.reduce((best, corner) => (along(corner) > along(best) ? corner : best));
  const [x, y] = [edge[0] + LABEL_GAP * way[0], edge[1] + LABEL_GAP * way[1]];
  const anchor = way[0] > 0.4 ? "start" : way[0] < -0.4 ? "end" : "middle";
  const place = { x: x.toFixed(4), y: (-y + LABEL_SIZE / 3).toFixed(4), "text-anchor": anchor };
  return createSvg("text", { ...place, class: isQuery ? "region-name query" : "region-name" }, shorten(region.name, LABEL_CHARACTERS));
}

/** Direction from the middle of the products to a region's centre, for the region that is in their midst downwards. */
function wayFrom(points, [x, y]) {
  const middle = points.reduce((sum, point) => [sum[0] + point.x / points.length, sum[1] + point.y / points.length], [0, 0]);
  const [dx, dy] = [x - middle[0], y - middle[1]];
  const length = Math.hypot(dx, dy);
  return length < 0.02 ? [0, -1] : [dx / length, dy / length];
}

function drawPoint(point, kind, isChosen) {
  const size = isChosen ? 2 * POINT_SIZE : POINT_SIZE;
  const place = `translate(${point.x.toFixed(4)} ${(-point.y).toFixed(4)}) scale(${size})`;
  const shape = createSvg("path", { d: shapeOf(isChosen ? "chosen" : kind), transform: place });
  shape.setAttribute("class", `point ${kind ?? "level"}${isChosen ? " chosen" : ""}`);
  shape.append(createSvg("title", {}, point.title));
  return shape;
}

function shapeOf(kind) {
  if (kind === "chosen") return "M0-1.4L1.4 0L0 1.4L-1.4 0Z";
  if (kind === "up") return "M0-1.2L1.2 1H-1.2Z";
  if (kind === "down") return "M0 1.2L1.2-1H-1.2Z";
  return "M-1 0A1 1 0 0 1 1 0A1 1 0 0 1-1 0Z";
}
