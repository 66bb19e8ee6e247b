// The page: asks the service for a search, shows both lists, and ranks again in the browser when a slider moves.

import { PageError, call, hasKey, saveKey } from "./api.js";
import { Details } from "./details.js";
import { byId, create } from "./elements.js";
import { rankProducts } from "./fusion.js";
import { setUpKeyboard, shownLists } from "./keyboard.js";
import { ProductList, countChanges, describeChanges, fillLexicalRow, fillRerankedRow } from "./lists.js";
import { drawPaths } from "./paths.js";
import { setUpTheme } from "./theme.js";
import { Tuning } from "./tuning.js";
import { counted, listSignals, sentence, shorten } from "./words.js";

const TYPING_PAUSE_MILLISECONDS = 250;
const ROWS_AT_FIRST = 10;
const HINT = "Type a query, and see the order of your cluster beside the reranked one.";

const page = {
  settings: null, answer: null, order: [], rows: ROWS_AT_FIRST, query: "", waiting: null, pause: 0, beginning: null,
};
const details = new Details();
const lexical = new ProductList(byId("lexical"), openDetails);
const reranked = new ProductList(byId("reranked"), openDetails);
const tuning = new Tuning(() => showOrder(currentOrder()));

async function start() {
  setUpTheme();
  setUpKeyboard([lexical, reranked]);
  byId("search-form").addEventListener("submit", (event) => {
    event.preventDefault();
    search();
  });
  byId("query").addEventListener("input", () => {
    clearTimeout(page.pause);
    page.pause = setTimeout(search, TYPING_PAUSE_MILLISECONDS);
  });
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (saveKey(byId("key").value.trim())) begin();
    else showMessage("This cannot be a key of the service: a key has only printable ASCII characters, without spaces.");
  });
  byId("more").addEventListener("click", showMore);
  byId("show-lexical").addEventListener("click", () => switchList("lexical"));
  byId("show-reranked").addEventListener("click", () => switchList("reranked"));
  for (const name of ["pointerover", "focusin"]) byId("lists").addEventListener(name, markCounterpart);
  for (const name of ["pointerleave", "focusout"]) byId("lists").addEventListener(name, () => markPlace(null));
  new ResizeObserver(() => drawPaths(byId("paths"), lexical, reranked)).observe(byId("lists"));
  byId("query").value = new URLSearchParams(location.hash.slice(1)).get("q") ?? "";
  byId("query").focus();
  await begin();
}

/** Read what the page searches, once at a time, then search for what is typed by then. */
function begin() {
  page.beginning ??= readSettings().finally(() => {
    page.beginning = null;
  });
  return page.beginning;
}

async function readSettings() {
  try {
    page.settings = await call("settings");
  } catch (error) {
    showError(error);
    return;
  }
  showMessage(null);
  byId("key-form").hidden = true;
  const { index, products, problem } = page.settings;
  byId("about").textContent = `${index} · ${counted(products, "product")}`;
  if (problem) showMessage(sentence(problem));
  await search();
}

/** Search for what is typed. A later search aborts this one, so its answer never overwrites the later one's. */
async function search() {
  clearTimeout(page.pause);
  page.waiting?.abort();
  const waiting = (page.waiting = new AbortController());
  const query = byId("query").value.trim();
  history.replaceState(null, "", query ? `#${new URLSearchParams({ q: query })}` : location.pathname);
  if (!query) return showNothing();
  if (!page.settings) return begin();
  byId("lists").setAttribute("aria-busy", "true");
  try {
    const answer = await call("search", { query }, waiting.signal);
    if (page.waiting === waiting) showAnswer(query, answer);
  } catch (error) {
    if (error.name !== "AbortError" && page.waiting === waiting) showError(error);
  }
  if (page.waiting === waiting) byId("lists").removeAttribute("aria-busy");
}

function showAnswer(query, answer) {
  Object.assign(page, { query, answer, rows: ROWS_AT_FIRST });
  byId("answer").hidden = answer.products.length === 0;
  byId("status").textContent = describeAnswer(answer);
  showMessage(...remark(answer));
  if (byId("lists").contains(document.activeElement)) byId("query").focus(); // the row that has the focus goes away
  lexical.clear();
  reranked.clear();
  byId("tuning").hidden = !answer.reranked;
  byId("ranked-by").textContent = answer.reranked ? `by ${listSignals(answer.signals)}` : "not reranked";
  if (answer.reranked) tuning.start(answer.fusion, page.settings.window, answer.products.length);
  showRows([...answer.products.keys()], false); // from here the rows slide to their new places
  showOrder(currentOrder());
}

/** The order of the answer, or, once a slider was moved, of its weights. */
function currentOrder() {
  const { answer, settings } = page;
  if (!answer.reranked || !tuning.isChanged) return answer.order;
  return rankProducts(answer.products, tuning.values.weights, tuning.values.window, settings.max_shift);
}

function showOrder(order) {
  page.order = order;
  showRows(order, true);
  const size = Math.min(ROWS_AT_FIRST, order.length);
  const isChanged = page.answer.reranked && tuning.isChanged;
  byId("change").textContent = isChanged ? describeChanges(countChanges(page.answer.order, order, size), size) : "";
}

function showRows(order, moves) {
  const { products, order: current, reranked: isReranked } = page.answer;
  const fillLexical = (row, product, place) => fillLexicalRow(row, product, place, isReranked ? order.indexOf(place) : null);
  lexical.show(products, [...products.keys()].slice(0, page.rows), fillLexical, false);
  const fill = (row, product, place, index) => fillRerankedRow(row, product, place, index, moves ? current.indexOf(place) : index);
  reranked.show(products, order.slice(0, page.rows), fill, moves);
  byId("more").hidden = page.rows >= products.length;
  drawPaths(byId("paths"), lexical, reranked);
}

function showMore() {
  const first = page.rows;
  page.rows += ROWS_AT_FIRST;
  showRows(page.order, true);
  if (byId("more").hidden) shownLists([lexical, reranked]).at(-1).buttons()[first].focus(); // the button had the focus
}

/** On a narrow page: show the other list, its rows sliding from where they were in the one that was shown. */
function switchList(name) {
  const [from, to] = name === "lexical" ? [reranked, lexical] : [lexical, reranked];
  const [old, bottom] = [from.positions(), from.bottom()];
  const isOther = byId("lists").dataset.shown !== name;
  byId("lists").dataset.shown = name;
  if (isOther) to.slide(old, bottom);
  for (const each of ["lexical", "reranked"]) byId(`show-${each}`).setAttribute("aria-pressed", String(each === name));
}

function showNothing() {
  page.answer = null;
  byId("answer").hidden = true;
  byId("status").textContent = HINT;
  showMessage(page.settings?.problem ? sentence(page.settings.problem) : null);
}

function describeAnswer({ products, total, reranked: isReranked }) {
  if (!products.length) return "";
  const found = `${total.relation === "eq" ? "" : "More than "}${counted(total.value, "product")} found`;
  if (!isReranked) return `${found}.`;
  const { window } = page.settings;
  return window < total.value ? `${found}, the first ${window} reranked.` : `${found}, all reranked.`;
}

/** What must be said about an answer, and the query that may have been meant. */
function remark({ products, reranked: isReranked, reason, note, suggestion }) {
  if (!products.length) {
    if (reason) return [sentence(reason)];
    const query = create("bdi", {}, shorten(page.query)); // Arabic or a control character turns no word beside it
    return [["No product has a word of “", query, `” in the field ${page.settings.field}. Is it misspelt?`], suggestion];
  }
  if (!isReranked) return [sentence(`These products were not reranked: ${reason}`)];
  return [[note, reason].filter(Boolean).map(sentence).join(" ") || null];
}

/** Show a text, or parts of one, and a button that searches for a suggestion; nothing if the text is null. */
function showMessage(text, suggestion) {
  const message = byId("message");
  message.hidden = !text;
  message.replaceChildren(...(text ? [create("p", {}, ...[text].flat())] : []));
  if (!suggestion) return;
  const button = create("button", { type: "button" }, "Search for “", create("bdi", {}, shorten(suggestion)), "”");
  button.addEventListener("click", () => {
    byId("query").value = suggestion;
    byId("query").focus();
    search();
  });
  message.append(button);
}

/** Show what failed, in place of the lists, which would belong to another query. */
function showError(error) {
  if (!(error instanceof PageError)) throw error;
  page.answer = null;
  byId("answer").hidden = true;
  byId("status").textContent = "";
  const needsKey = error.status === 401;
  byId("key-form").hidden = !needsKey;
  showMessage(needsKey ? (hasKey() ? "The service does not accept this key." : null) : error.message);
  if (needsKey) byId("key").focus();
}

function openDetails(place) {
  const { answer, query, order, settings } = page;
  const { weights, window } = tuning.values ?? {};
  const ranking = answer.reranked ? { weights, maxShift: settings.max_shift, inWindow: place < window } : null;
  details.open({ query, products: answer.products, place, order, ranking });
}

function markCounterpart(event) {
  markPlace(event.target.closest("li")?.dataset.place ?? null);
}

function markPlace(place) {
  for (const marked of byId("lists").querySelectorAll(".marked")) marked.classList.remove("marked");
  if (place === null) return;
  for (const element of byId("lists").querySelectorAll(`[data-place="${place}"]`)) element.classList.add("marked");
}

start();
