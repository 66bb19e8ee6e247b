// Numbers and movements in words and signs. Everything here returns text, which the page inserts as text.

/** A number with a minus sign that reads as one. */
export function number(value, digits = 3) {
  return value.toFixed(digits).replace("-", "−");
}

export function signed(value, digits = 3) {
  return (value < 0 ? "" : "+") + number(value, digits);
}

/** A count with the word that belongs to it: 1 product, 2 products. */
export function counted(count, word) {
  return `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
}

/** How a product moved between two places, counted from 1: a sign, and the same in words for screen readers. */
export function movement(was, is) {
  const places = Math.abs(was - is);
  if (was > is) return { kind: "up", sign: `▲${places}`, words: `moved up ${counted(places, "place")}, was ${was}` };
  if (was < is) return { kind: "down", sign: `▼${places}`, words: `moved down ${counted(places, "place")}, was ${was}` };
  return { kind: "level", sign: "=", words: "did not move" };
}

/** The first letter in capitals and a full stop at the end: reasons of the service are parts of sentences. */
export function sentence(text) {
  const trimmed = text.trim();
  return trimmed.charAt(0).toUpperCase() + trimmed.slice(1) + (/[.!?]$/.test(trimmed) ? "" : ".");
}

const SHOWN_CHARACTERS = 80;

/** The start of a text that somebody typed. */
export function shorten(text, limit = SHOWN_CHARACTERS) {
  const letters = [...text]; // by code points: half of an emoji is none
  return letters.length <= limit ? text : `${letters.slice(0, limit).join("")}…`;
}

/** Whether a text shows anything: zero-width characters and other controls do not. */
export function isVisible(text) {
  return /[^\p{C}\p{Z}\p{Default_Ignorable_Code_Point}]/u.test(text);
}

const SIGNAL_WORDS = { lexical: "lexical score", containment: "containment", attention: "attention" };

/** Names of signals as a list in a sentence. */
export function listSignals(signals) {
  const names = signals.map((signal) => SIGNAL_WORDS[signal] ?? signal);
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}
