// Elements of the page. No text is ever parsed as HTML: children are nodes, or strings that become text nodes.

const SVG = "http://www.w3.org/2000/svg";

export function byId(id) {
  return document.getElementById(id);
}

/** A new element. An attribute that is true is set to nothing, one that is false, null or undefined is left out. */
export function create(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

export function createSvg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

/** Text that only screen readers have. */
export function spoken(text) {
  return create("span", { class: "for-screen-readers" }, text);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}
