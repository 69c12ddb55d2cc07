// @ts-check
// The line at the foot of the page: the gateway's trunks, and in words what is wrong with one.

import { makeElement } from "./element.js";

/**
 * As in `GET /v1/trunks`, as far as it is shown.
 * @typedef {{name: string, state: "unknown" | "up" | "down", reason: string | null, wait_s: number,
 *     registrations: {registered: boolean}[]}} Trunk
 */

const REFRESH_EVERY_MS = 15_000;
/** More than these would be a list, not a line; those with a problem come first. */
const SHOWN_AT_MOST = 6;
/** In the order of the line. */
const TONES = /** @type {const} */ (["problem", "open", "fine"]);
/** @type {Record<string, string>} */
const REASONS = {
  "no-answer": "does not answer",
  "no-address": "has no address",
  "unavailable": "unavailable",
  "unreachable": "unreachable",
};

export class TrunkLine {
  #isOpen = false;

  /**
   * @param {HTMLElement} list
   * @param {Record<string, string>} headers what a request says to be let in
   */
  constructor(list, headers) {
    this.list = list;
    this.headers = headers;
    setInterval(() => this.#refresh(), REFRESH_EVERY_MS);
    document.addEventListener("visibilitychange", () => this.#refresh());
  }

  /** @param {boolean} isOpen whether the gateway can be reached: what it said before may be wrong now */
  linkChanged(isOpen) {
    this.#isOpen = isOpen;
    if (isOpen) this.#refresh();
    else this.list.hidden = true;
  }

  #refresh() {
    if (this.#isOpen && document.visibilityState === "visible") void this.#load();
  }

  async #load() {
    try {
      const response = await fetch("/v1/trunks", { headers: this.headers, signal: AbortSignal.timeout(5000) });
      if (!response.ok || !this.#isOpen) return;
      const { trunks } = await response.json();
      this.#show(Array.isArray(trunks) ? trunks : []);
    } catch {
      // The line is a courtesy; a lost gateway is told by its own notice.
    }
  }

  /** @param {Trunk[]} trunks */
  #show(trunks) {
    const told = trunks.map((trunk) => ({ name: String(trunk.name), ...describe(trunk) }));
    told.sort((a, b) => TONES.indexOf(a.tone) - TONES.indexOf(b.tone));
    const items = told.slice(0, SHOWN_AT_MOST).map(({ name, words, tone }) => {
      const item = makeElement("li", "trunk");
      item.dataset["tone"] = tone;
      const lamp = makeElement("span", "trunk-lamp");
      lamp.ariaHidden = "true";
      item.append(lamp, makeElement("span", "", `${name} ${words}`));
      return item;
    });
    const left = told.length - items.length;
    if (left > 0) items.push(makeElement("li", "trunk", `and ${left} more`));
    this.list.replaceChildren(...items);
    this.list.hidden = told.length === 0;
  }
}

/**
 * @param {Trunk} trunk
 * @returns {{words: string, tone: typeof TONES[number]}}
 */
function describe({ state, reason, wait_s, registrations }) {
  if (state === "down") return { words: REASONS[String(reason)] ?? "down", tone: "problem" };
  if (wait_s > 0) return { words: "asks to wait", tone: "problem" };
  if (Array.isArray(registrations) && registrations.some(({ registered }) => !registered)) {
    return { words: "not registered", tone: "problem" };
  }
  return state === "up" ? { words: "up", tone: "fine" } : { words: "not heard of yet", tone: "open" };
}
