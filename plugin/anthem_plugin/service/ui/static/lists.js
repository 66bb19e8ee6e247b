// The two lists: rows of products, their movement in signs and words, and the animation of a new order.

import { create, spoken } from "./elements.js";
import { counted, isVisible, movement } from "./words.js";

const MOVE_MILLISECONDS = 650;
const EASING = "cubic-bezier(.25, .7, .2, 1)";
const prefersCalm = matchMedia("(prefers-reduced-motion: reduce)");

/** A list of products. `open` is called with the place of a product in the lexical list when it is chosen. */
export class ProductList {
  constructor(element, open) {
    this.element = element;
    this.rows = new Map();
    element.addEventListener("click", (event) => {
      const row = event.target.closest("li");
      if (row) open(Number(row.dataset.place));
    });
  }

  /** Forget the rows: the products are others. */
  clear() {
    this.rows.clear();
    this.element.replaceChildren();
  }

  /** The buttons of the rows that are shown, in their order. */
  buttons() {
    return [...this.element.querySelectorAll("button.product")];
  }

  /**
   * Show products in an order of places in the lexical list. `fill` writes a row's content; with `moves`, rows slide
   * from their old positions to the new ones, and rows that were not shown come from below.
   */
  show(products, places, fill, moves) {
    const [old, bottom] = [this.positions(), this.bottom()];
    const focused = this.element.contains(document.activeElement) ? document.activeElement : null;
    const rows = places.map((place, index) => this.row(place, (row) => fill(row, products[place], place, index)));
    this.element.replaceChildren(...rows);
    if (focused) (focused.isConnected ? focused : this.buttons()[0])?.focus({ preventScroll: true });
    if (moves) this.slide(old, bottom);
  }

  /** Top of each row that is shown, by the place of its product. */
  positions() {
    return new Map([...this.element.children].map((row) => [row.dataset.place, row.getBoundingClientRect().top]));
  }

  bottom() {
    return this.element.getBoundingClientRect().bottom;
  }

  /** Slide every row from its old top to where it is; one that had none comes from below the `bottom` of the list. */
  slide(old, bottom) {
    for (const row of prefersCalm.matches ? [] : this.element.children) {
      const now = row.getBoundingClientRect().top;
      const from = old.get(row.dataset.place) ?? Math.max(bottom, now + row.offsetHeight);
      const isNew = !old.has(row.dataset.place);
      if (Math.abs(from - now) < 1) continue;
      const start = { transform: `translateY(${from - now}px)`, ...(isNew ? { opacity: 0 } : {}) };
      row.animate([start, { transform: "none", ...(isNew ? { opacity: 1 } : {}) }], {
        duration: MOVE_MILLISECONDS,
        easing: EASING,
      });
    }
  }

  row(place, fill) {
    const known = this.rows.get(place);
    const row = known ?? create("li", { "data-place": place }, create("button", { type: "button", class: "product" }));
    this.rows.set(place, row);
    fill(row.firstChild);
    return row;
  }
}

/** Content of a row of the lexical list; `index` is where the product is after reranking, null if it was not. */
export function fillLexicalRow(button, product, place, index) {
  button.replaceChildren(rank(place + 1), title(product));
  if (index === null) return;
  const goes = create("span", { class: "goes quiet" }, create("span", { "aria-hidden": "true" }, `→ ${index + 1}`));
  goes.append(spoken(`, place ${index + 1} after reranking`));
  button.append(goes);
}

/** Content of a row of the reranked list; `current` is the index that the product has with the current weights. */
export function fillRerankedRow(button, product, place, index, current) {
  const { kind, sign, words } = movement(place + 1, index + 1);
  const moved = create("span", { class: `moved ${kind}` }, create("span", { "aria-hidden": "true" }, sign));
  moved.append(spoken(`, ${words}. `));
  const differs = current === index ? null : create("span", { class: "differs" }, `now ${current + 1}`);
  if (differs) differs.append(spoken(` with the current values`));
  button.replaceChildren(rank(index + 1), moved, title(product), ...(differs ? [differs] : []));
}

/** How many of the first `size` products have other places in two orders, and how many of them are new there. */
export function countChanges(before, after, size) {
  const first = before.slice(0, size);
  const shown = after.slice(0, size);
  const changed = shown.filter((place, index) => first[index] !== place).length;
  const entered = shown.filter((place) => !first.includes(place)).length;
  return { changed, entered };
}

/** The change in a sentence. */
export function describeChanges({ changed, entered }, size) {
  const products = `the first ${counted(size, "product")}`;
  if (!changed) return `With these values ${products} stay where they are.`;
  const others = entered ? `, ${entered} of them from below` : "";
  return `With these values ${changed} of ${products} would have another place${others}.`;
}

function rank(number) {
  return create("span", { class: "rank" }, String(number));
}

function title(product) {
  const { title: text, id } = product;
  if (!isVisible(text)) return create("span", { class: "title quiet" }, nameless(id));
  return create("span", { class: "title", dir: "auto", title: text }, text);
}

/** What stands for a title that shows nothing. */
export function nameless(id) {
  return `No title (${id})`;
}
