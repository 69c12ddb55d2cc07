// @ts-check
// The banner of a call that comes in.

import { findElement } from "./element.js";
import { RING, Tone } from "./tone.js";

/** @typedef {import("./signal.js").Incoming} Incoming */

export class IncomingBanner {
  /** @type {Incoming | null} */
  offered = null;

  #banner = findElement("incoming", HTMLElement);
  #from = findElement("incoming-from", HTMLElement);
  #to = findElement("incoming-to", HTMLElement);
  #accept = findElement("accept", HTMLButtonElement);
  #ring = new Tone();

  /** @param {{onAccept: (call: Incoming) => void, onDecline: (call: Incoming) => void}} to */
  constructor({ onAccept, onDecline }) {
    this.#accept.addEventListener("click", () => this.#take(onAccept));
    findElement("decline", HTMLButtonElement).addEventListener("click", () => this.#take(onDecline));
    this.#banner.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.#take(onDecline);
    });
  }

  /**
   * @param {Incoming} call
   * @param {{busy: boolean}} now busy: taking it ends the call that runs, and no ring disturbs that one
   */
  show(call, { busy }) {
    this.offered = call;
    // Shown first, filled then: a live region tells of what changes while it is there. The focus
    // stays where it is, so that a key pressed at that moment answers nothing.
    this.#banner.hidden = false;
    this.#from.textContent = call.from || "Unknown caller";
    this.#to.textContent = call.to ? `to ${call.to}` : "";
    this.#accept.lastChild?.replaceWith(busy ? "Hang up and accept" : "Accept");
    if (!busy) this.#ring.start(RING);
  }

  hide() {
    this.#ring.stop();
    this.offered = null;
    this.#banner.hidden = true;
  }

  /** @param {(call: Incoming) => void} then */
  #take(then) {
    const call = this.offered;
    this.hide();
    if (call !== null) then(call);
  }
}
