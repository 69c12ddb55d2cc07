// @ts-check
// What outlives a reload of the page: which page it was, and which call it was in. Kept for this tab.

/**
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

/** @param {Kept | null} kept null: there is nothing to come back to */
export function keep(kept) {
  try {
    if (kept === null) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, JSON.stringify(kept));
  } catch {
    // Storage may be forbidden: then a reload ends the call.
  }
}

/** @returns {Kept | null} what was kept, if this page may have it */
export function recallKept() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY) ?? "null");
  } catch {
    return null;
  }
}

/**
 * Hold a call for this tab. A tab that was duplicated has a copy of all that is kept, and would take
 * the call from the tab that is in it.
 * @param {string} call
 * @returns {Promise<(() => void) | null>} lets go of it; null: another tab has it
 */
export function claim(call) {
  return new Promise((resolve) => {
    const signal = AbortSignal.timeout(LET_GO_WITHIN_MS);
    navigator.locks
      .request(`call ${call}`, { signal }, () => new Promise((done) => resolve(() => done(null))))
      .catch(() => resolve(null));
  });
}
