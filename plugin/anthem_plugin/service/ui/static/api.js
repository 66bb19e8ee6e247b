// Calls of the service. The API key, if the service asks for one, stays in the session storage of this tab.

import { recall, remember } from "./storage.js";

const KEY_NAME = "anthem-api-key";
const POSSIBLE_KEY = /^[!-~]+$/; // what an HTTP header can carry, as `anthem serve` accepts it

/** A failure in a sentence that the page can show. */
export class PageError extends Error {
  constructor(sentence, status = 0) {
    super(sentence);
    this.status = status;
  }
}

/** Keep a key; false if it cannot be one. */
export function saveKey(key) {
  const isPossible = POSSIBLE_KEY.test(key);
  if (isPossible) remember("sessionStorage", KEY_NAME, key);
  return isPossible;
}

export function hasKey() {
  return recall("sessionStorage", KEY_NAME) !== null;
}

/** The answer to `GET`, or to `POST` if there is a body; paths are relative to /ui/. An aborted call rejects. */
export async function call(path, body, signal) {
  const response = await send(path, body, signal);
  const answer = await response.json().catch(() => null);
  if (response.ok && answer !== null) return answer;
  throw new PageError(describe(answer, response.status), response.status);
}

async function send(path, body, signal) {
  const key = recall("sessionStorage", KEY_NAME);
  const headers = key === null ? {} : { Authorization: `Bearer ${key}` };
  const options = { headers, signal, cache: "no-store" };
  if (body !== undefined) {
    Object.assign(options, { method: "POST", body: JSON.stringify(body) });
    headers["Content-Type"] = "application/json";
  }
  try {
    return await fetch(new URL(path, import.meta.url), options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new PageError("The service does not answer. Is `anthem serve` still running?");
  }
}

function describe(answer, status) {
  const sentence = answer && typeof answer.detail === "string" ? answer.detail : null;
  return sentence ?? `The service answered with status ${status} and gave no reason.`;
}
