// @ts-check
// What the phone shows: the state in words, with whom, for how long, and what is wrong.

import { findElement } from "./element.js";

/**
 * @typedef {import("./call.js").Call} Call
 * @typedef {import("./errors.js").Explanation} Explanation
 */

const TITLE = document.title;
const WORDS = {
  "connecting": "Connecting",
  "ringing": "Ringing",
  "early-media": "Early media",
  "in-call": "In call",
};
const ON_HOLD = "On hold";
/** By who is on hold and by whom it is, as the gateway's `held` says it. */
const HOLD_WORDS = {
  "you far-end": "The far end has put you on hold and does not hear you",
  "you gateway": "You are on hold: the far end does not hear you",
  "far-end gateway": "The far end is on hold and does not hear you",
};
/** While the sound is gone, and may come back. */
const PATH_WORDS = {
  reconnecting: {
    state: "Reconnecting",
    detail: "Your connection changed or broke. The call is kept for half a minute.",
  },
  resuming: { state: "Resuming", detail: "The page was reloaded. The far end is still there." },
};
const IDLE_HINT = "Enter a number or pick a name.";

export class Screen {
  #display = findElement("display", HTMLElement);
  #state = findElement("state", HTMLElement);
  #party = findElement("party", HTMLElement);
  #detail = findElement("detail", HTMLElement);
  #duration = findElement("duration", HTMLElement);
  #problem = findElement("problem", HTMLElement);

  /**
   * @param {Call | null} call null before the first one
   * @param {string} name of its party, if known
   */
  show(call, name) {
    const words = call === null ? "Ready" : describeState(call);
    this.#display.dataset["state"] = call?.state ?? "ready";
    this.#display.toggleAttribute("data-hold", isOnHold(call));
    this.#display.toggleAttribute("data-mending", Boolean(call?.path));
    setText(this.#state, words);
    setText(this.#party, call === null ? "" : [name, call.party].filter(Boolean).join(" · "));
    setText(this.#detail, call === null ? IDLE_HINT : describeDetail(call));
    document.title = call === null ? TITLE : `${words} – ${TITLE}`;
  }

  /** @param {number | null} duration_s null: nothing to count */
  showDuration(duration_s) {
    setText(this.#duration, duration_s === null ? "" : formatDuration(duration_s));
  }

  /** @param {Explanation | null} problem */
  showProblem(problem) {
    this.#display.toggleAttribute("data-problem", problem !== null);
    showExplanation(this.#problem, problem);
  }
}

/**
 * Fill a notice and show it, or hide it.
 * @param {HTMLElement} notice
 * @param {Explanation | null} explanation
 */
export function showExplanation(notice, explanation) {
  for (const part of /** @type {const} */ (["title", "remedy", "detail"])) {
    const element = notice.querySelector(`.notice-${part}`);
    if (element instanceof HTMLElement) {
      setText(element, explanation?.[part] ?? "");
      element.hidden = !explanation?.[part];
    }
  }
  notice.hidden = explanation === null;
}

/** @param {Call | null} call */
function isOnHold(call) {
  return call?.state === "in-call" && call.hold !== null;
}

/** @param {Call} call */
function describeState(call) {
  if (call.path) return PATH_WORDS[call.path].state;
  if (isOnHold(call)) return ON_HOLD;
  return call.state === "ended" ? `Ended: ${call.why}` : WORDS[call.state];
}

/** @param {Call} call */
function describeDetail({ state, hold, detail, path, back }) {
  if (path) return PATH_WORDS[path].detail;
  if (back) return back;
  if (state !== "in-call" || hold === null) return detail;
  const words = /** @type {Record<string, string>} */ (HOLD_WORDS);
  return words[`${hold.who} ${hold.by}`] ?? detail;
}

/**
 * @param {number} duration_s
 * @returns {string} 0:07, 12:34, 1:02:03
 */
function formatDuration(duration_s) {
  const whole = Math.floor(duration_s);
  const [hours, minutes, seconds] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (/** @type {number} */ part) => String(part).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(seconds)}` : `${minutes}:${two(seconds)}`;
}

/**
 * Only on a change: a live region would say it again.
 * @param {HTMLElement} element
 * @param {string} text
 */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
