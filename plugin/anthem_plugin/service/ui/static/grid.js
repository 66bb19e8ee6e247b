// The attention grid as a table: the query down, the title across, a cell the darker the larger its share.

import { create } from "./elements.js";

const SMALLEST_SHOWN_SHARE = 0.005; // a smaller one would read .00

/** A table of the shares, which scrolls sideways if it is wide. */
export function gridTable({ query, title, cells }, caption) {
  const largest = Math.max(...cells.flat(), Number.MIN_VALUE);
  const names = title.map((word) => create("th", { scope: "col" }, create("span", { dir: "auto" }, word)));
  const head = create("thead", {}, create("tr", {}, create("td"), ...names));
  const body = create("tbody", {}, ...query.map((word, number) => gridRow(word, cells[number], largest)));
  const table = create("table", { class: "grid" }, create("caption", {}, caption), head, body);
  return create("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption }, table);
}

/** The pairs of words with the largest shares, in a sentence. */
export function describePairs({ query, title, cells }, limit = 2) {
  const pairs = query.flatMap((asked, row) => title.map((found, column) => [asked, found, cells[row][column]]));
  const strongest = pairs.filter(([, , share]) => share >= SMALLEST_SHOWN_SHARE).sort((one, other) => other[2] - one[2]);
  return strongest.slice(0, limit).map(([asked, found, share]) => `${asked} ↔ ${found} ${formatShare(share)}`);
}

function gridRow(name, shares, largest) {
  const cells = shares.map((share) => {
    const cell = create("td", {}, share < SMALLEST_SHOWN_SHARE ? "·" : formatShare(share));
    cell.style.setProperty("--share", `${((100 * share) / largest).toFixed(1)}%`);
    return cell;
  });
  return create("tr", {}, create("th", { scope: "row" }, create("span", { dir: "auto" }, name)), ...cells);
}

function formatShare(share) {
  return share.toFixed(2).replace(/^0/, "");
}
