// @ts-check
// The call's signalling as a ladder: You ⇄ Gateway ⇄ Far end, one row a message.

import { makeElement } from "./element.js";

/** @typedef {import("./signal.js").LadderStep} LadderStep */

/** A day of re-INVITEs; beyond it the oldest rows go, so that the page does not grow for ever. */
const MAX_ROWS = 500;
/** Closer to the end than this, the ladder follows new rows. */
const FOLLOW_PX = 40;

const PARTIES = { browser: "you", peer: "far end" };

export class Ladder {
  /**
   * @param {HTMLElement} scroller
   * @param {HTMLOListElement} list
   * @param {HTMLElement} empty shown while there is no row
   */
  constructor(scroller, list, empty) {
    this.scroller = scroller;
    this.list = list;
    this.empty = empty;
  }

  clear() {
    this.list.replaceChildren();
    this.empty.hidden = false;
  }

  /** @param {LadderStep} step */
  add(step) {
    const { scroller, list } = this;
    const follows = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < FOLLOW_PX;
    this.empty.hidden = true;
    list.append(drawStep(step));
    if (list.childElementCount > MAX_ROWS) list.firstElementChild?.remove();
    if (follows) scroller.scrollTop = scroller.scrollHeight;
  }
}

/**
 * @param {LadderStep} step
 * @returns {HTMLLIElement}
 */
function drawStep({ at_ms, lane, sent, text }) {
  const leg = lane === "browser" ? "browser" : "peer";
  const row = document.createElement("li");
  row.className = "step";
  row.dataset["lane"] = leg;
  // On paper the gateway stands in the middle: what it sends to you points left.
  row.dataset["points"] = (leg === "peer") === Boolean(sent) ? "right" : "left";
  const party = PARTIES[leg];
  const time = makeElement("time", "step-time", (Number(at_ms) / 1000).toFixed(3));
  time.append(makeElement("span", "unseen", " seconds, "));
  const arrow = makeElement("span", "step-arrow");
  arrow.append(
    makeElement("span", "unseen", sent ? `gateway to ${party}: ` : `${party} to gateway: `),
    makeElement("span", "step-text", String(text)),
  );
  row.append(time, arrow);
  return row;
}
