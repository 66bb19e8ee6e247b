// The lines between the two lists, which join the places of a product. They repeat what the rows say in words.

import { createSvg } from "./elements.js";

const prefersCalm = matchMedia("(prefers-reduced-motion: reduce)");

/** Draw a line for every product of the reranked list; one from below the lexical list starts at its end. */
export function drawPaths(svg, lexical, reranked) {
  const box = svg.getBoundingClientRect();
  svg.replaceChildren();
  if (!box.width) return; // the lists are not side by side
  svg.setAttribute("viewBox", `0 0 ${box.width} ${box.height}`);
  const ends = centres(lexical, box.top);
  const bottom = lexical.element.getBoundingClientRect().bottom - box.top;
  for (const [place, to] of centres(reranked, box.top)) {
    const from = ends.get(place);
    const index = [...reranked.element.children].findIndex((row) => row.dataset.place === place);
    const kind = Number(place) > index ? "up" : Number(place) < index ? "down" : "level";
    const line = curve(from ?? bottom + 12, to, box.width);
    const name = `path ${kind}${from === undefined ? " from-below" : ""}`;
    svg.append(createSvg("path", { d: line, class: name, "data-place": place }));
  }
  if (!prefersCalm.matches) svg.animate([{ opacity: 0 }, { opacity: 0, offset: 0.6 }, { opacity: 1 }], 700);
}

/** Middle of each row by the place of its product, where it will be once it has moved: `offsetTop` ignores movements. */
function centres(list, top) {
  const start = list.element.getBoundingClientRect().top - top;
  return new Map([...list.element.children].map((row) => [row.dataset.place, start + row.offsetTop + row.offsetHeight / 2]));
}

function curve(from, to, width) {
  const [start, end] = [4, width - 4];
  return `M${start} ${from} C${width / 2} ${from} ${width / 2} ${to} ${end} ${to}`;
}
