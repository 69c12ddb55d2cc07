// @ts-check
// What outlives a reload of the page: which page it was, and which call it was in. Kept for this tab.

/**
 * @typedef {import("./call.js").Call} Call
 * @typedef {object} Kept
 * @property {string} token says to the gateway whose page this is
 * @property {string} call the page's name for it
 * @property {string} party
 * @property {"out" | "in"} direction
 * @property {boolean} muted
 */

const KEY = "call";
/** How long the page that was may take to let go of its call: browsers unload it beside the new one. */
const LET_GO_WITHIN_MS = 3_000;

export class KeptCall {
  /** @type {(() => void) | null} lets other tabs have the call */
  #letGo = null;

  /**
   * The call that a reload has interrupted, from now on this tab's.
   * @returns {Promise<Kept | null>} null: there is none, or another tab is in it
   */
  async recall() {
    const kept = read();
    if (kept === null) return null;
    this.#letGo = await claim(kept.call);
    return this.#letGo === null ? null : kept;
  }

  /**
   * Have the call for this tab. One that was duplicated has a copy of all that is kept, and would
   * take the call from the tab that is in it.
   * @param {Call} call
   */
  async hold(call) {
    const letGo = await claim(call.id);
    if (call.state === "ended") letGo?.();
    else this.#letGo = letGo;
  }

  /**
   * Keep what a reload has to know.
   * @param {Call | null} call
   * @param {string} token
   */
  keep(call, token) {
    if (call === null || call.state === "ended") return write(null);
    const { id, party, direction, muted } = call;
    write({ token, call: id, party, direction, muted });
  }

  /** The call is over. */
  forget() {
    this.#letGo?.();
    this.#letGo = null;
    write(null);
  }
}

/** @returns {Kept | null} */
function read() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY) ?? "null");
  } catch {
    return null;
  }
}

/** @param {Kept | null} kept */
function write(kept) {
  try {
    if (kept === null) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, JSON.stringify(kept));
  } catch {
    // Storage may be forbidden: then a reload ends the call.
  }
}

/**
 * @param {string} call
 * @returns {Promise<(() => void) | null>} lets go of it; null: another tab has it
 */
function claim(call) {
  return new Promise((resolve) => {
    const signal = AbortSignal.timeout(LET_GO_WITHIN_MS);
    navigator.locks
      .request(`call ${call}`, { signal }, () => new Promise((done) => resolve(() => done(null))))
      .catch(() => resolve(null));
  });
}
