// The page by keyboard: / to the search, arrows through the lists, Enter (a button's own) for details, Escape back.

import { byId } from "./elements.js";

const EDITABLE = "input, textarea, select, [contenteditable]";

/** `lists` are the lexical and the reranked list. */
export function setUpKeyboard(lists) {
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || byId("details").open) return;
    if (event.key === "/" && !event.target.matches(EDITABLE)) {
      event.preventDefault();
      byId("query").focus();
      byId("query").select();
    } else if (event.target === byId("query") && event.key === "ArrowDown") {
      event.preventDefault();
      shownLists(lists).at(-1)?.buttons()[0]?.focus();
    } else if (event.target.matches(".product")) {
      moveBetweenRows(event, lists);
    }
  });
}

function moveBetweenRows(event, lists) {
  const target = nextFocus(event, shownLists(lists));
  if (!target) return;
  event.preventDefault();
  target.focus();
  target.scrollIntoView({ block: "nearest" });
}

function nextFocus({ key, target }, lists) {
  const column = lists.findIndex((list) => list.element.contains(target));
  const buttons = lists[column].buttons();
  const row = buttons.indexOf(target);
  switch (key) {
    case "ArrowDown":
      return buttons[row + 1];
    case "ArrowUp":
      return row ? buttons[row - 1] : byId("query");
    case "Home":
      return buttons[0];
    case "End":
      return buttons.at(-1);
    case "ArrowLeft":
      return lists[column - 1]?.buttons()[row];
    case "ArrowRight":
      return lists[column + 1]?.buttons()[row];
    case "Escape":
      return byId("query");
  }
  return null;
}

/** On a narrow page only one list is shown at a time. */
export function shownLists(lists) {
  return lists.filter((list) => list.element.offsetParent !== null);
}
