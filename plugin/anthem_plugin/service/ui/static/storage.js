// What the browser remembers. One that forbids storage throws at every access; then it is remembered until the page closes.

const forbidden = new Map();

/** `storage` is "localStorage", or "sessionStorage" for what ends with the tab. */
export function remember(storage, name, value) {
  try {
    window[storage].setItem(name, value);
  } catch {
    forbidden.set(name, value);
  }
}

/** The text of this name, or null. */
export function recall(storage, name) {
  try {
    return window[storage].getItem(name);
  } catch {
    return forbidden.get(name) ?? null;
  }
}
