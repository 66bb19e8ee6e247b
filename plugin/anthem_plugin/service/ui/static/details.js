// Why a product has its place: the dialog with its attention grid, its score in parts, and where it lies.

import { call } from "./api.js";
import { byId, create } from "./elements.js";
import { scoreParts } from "./fusion.js";
import { describePairs, gridTable } from "./grid.js";
import { nameless } from "./lists.js";
import { drawMap } from "./map.js";
import { isVisible, movement, number, signed } from "./words.js";

const MAP_PRODUCTS = 50;

/** The dialog. Only the answer for the product that was opened last is shown. */
export class Details {
  constructor() {
    this.dialog = byId("details");
    byId("close").addEventListener("click", () => this.dialog.close());
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog) this.dialog.close(); // beside the dialog
    });
    this.dialog.addEventListener("close", () => {
      this.waiting?.abort();
      if (!this.opener.isConnected) byId("query").focus(); // a search replaced the row meanwhile
    });
  }

  /**
   * Open the dialog for the product at a place of the lexical list, then fetch what is not known yet. `order` has all
   * places in the order that is shown; `ranking` has the weights, or is null if the products were not reranked.
   */
  async open({ query, products, place, order, ranking }) {
    this.waiting?.abort();
    const waiting = (this.waiting = new AbortController());
    const [product, rank] = [products[place], order.indexOf(place)];
    byId("details-title").textContent = isVisible(product.title) ? product.title : nameless(product.id);
    const body = byId("details-body");
    const moved = ranking ? `Place ${rank + 1} after reranking: ${movement(place + 1, rank + 1).words}.` : `Place ${place + 1}.`;
    const answer = create("div", { class: "loading" }, create("p", { class: "quiet", role: "status" }, "Reading …"));
    body.replaceChildren(create("p", { class: "quiet" }, moved), answer);
    this.opener = document.activeElement;
    this.dialog.showModal();
    this.dialog.scrollTop = 0;
    try {
      const explanation = await call("../explain", { query, titles: [product.text] }, waiting.signal);
      answer.replaceChildren(...sections(explanation, product, ranking));
      const shown = [...new Set([place, ...order.slice(0, MAP_PRODUCTS)])];
      const texts = Object.fromEntries(shown.map((each) => [each, products[each].text]));
      const map = await call("map", { query, texts }, waiting.signal);
      const marks = new Map(shown.map((each) => [String(each), movement(each, order.indexOf(each)).kind]));
      answer.lastElementChild.append(drawMap(map, marks, String(place)));
    } catch (error) {
      if (error.name === "AbortError") return;
      answer.querySelector("[role=status]")?.remove();
      answer.append(create("p", { class: "notice", role: "alert" }, error.message));
    }
  }
}

function sections(explanation, product, ranking) {
  const [{ attention, region }] = explanation.titles;
  return [wordsSection(attention), scoreSection(product, ranking), regionSection(region, explanation.weights)];
}

function wordsSection(attention) {
  const head = create("h3", {}, "Which words match");
  if (!attention) return create("section", {}, head, create("p", {}, "There is no attention grid for this product."));
  const pairs = describePairs(attention.words);
  const strongest = pairs.length ? create("p", {}, `Strongest: ${pairs.join(", ")}`) : null;
  const grid = gridTable(attention.words, "Share of the attention: query down, title across");
  const raw = create("details", {}, create("summary", {}, "By entities, as the model reads them"));
  raw.addEventListener("toggle", () => {
    if (raw.open && raw.children.length === 1) raw.append(gridTable(attention.entities, "Share of the attention by entities"));
  });
  return create("section", {}, head, ...(strongest ? [strongest] : []), grid, raw);
}

function scoreSection(product, ranking) {
  const head = create("h3", {}, "How its score is made");
  if (!ranking) {
    const only = `Only its lexical score counts: ${number(product.lexical)}.`;
    return create("section", {}, head, create("p", {}, only));
  }
  const { weights, maxShift, inWindow } = ranking;
  const parts = scoreParts(product, weights, maxShift);
  const rows = [
    ["Lexical score", number(product.lexical)],
    ...(weights.attention
      ? [signalRow("Attention", product.attention, weights.median_attention, weights.attention, parts.attention)]
      : []),
    ...(weights.containment
      ? [signalRow("Distance", product.distance, weights.median_distance, -weights.containment, parts.distance)]
      : []),
    ["Sum of the model’s terms", signed(parts.shift)],
    ["Factor from this sum", `× ${number(parts.factor)}`],
    [`Score: (lexical + ${number(weights.lexical_offset)}) × factor`, number(parts.score)],
  ];
  const table = create("table", { class: "sum" }, create("tbody", {}, ...rows.map(sumRow)));
  const outside = create("p", { class: "quiet" }, "This product is below the window, so it keeps its lexical place.");
  return create("section", {}, head, table, ...(inWindow ? [] : [outside]));
}

/** A signal's row: its weight times how far its value is from the median. */
function signalRow(name, value, median, weight, contribution) {
  if (value === null) return [`${name}: unknown`, "0"];
  const term = `${number(weight, 2)} × (${number(value)} ${median < 0 ? "+" : "−"} ${number(Math.abs(median))})`;
  return [`${name}: ${term}`, signed(contribution)];
}

function sumRow([name, value], index, rows) {
  const last = index === rows.length - 1 ? "total" : null;
  return create("tr", { class: last }, create("th", { scope: "row" }, name), create("td", {}, value));
}

function regionSection(region, weights) {
  const head = create("h3", {}, "Where it lies");
  if (!region) return create("section", {}, head, create("p", {}, "The query or the product has no words, so there is no region or point to show."));
  const outside = region.contained ? "" : ` by ${number(region.outside_by)}`;
  const place = `The product lies ${region.contained ? "inside" : "outside"} the query’s region${outside}; its distance is ${number(region.distance)}.`;
  const strongest = weights.slice(0, 4).map(([name, weight]) => `${name} ${number(weight, 2)}`);
  return create("section", {}, head, create("p", {}, place), create("p", {}, `The region is made of: ${strongest.join(", ")}.`));
}
