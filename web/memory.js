// @ts-check
// What the page remembers on this machine. Storage may be forbidden; then it forgets, and works.

/** @typedef {"theme" | "processing" | "destination"} Remembered */

/**
 * @param {Remembered} what
 * @returns {string | null}
 */
export function recall(what) {
  try {
    return localStorage.getItem(what);
  } catch {
    return null;
  }
}

/**
 * @param {Remembered} what
 * @param {string | null} value null forgets
 */
export function remember(what, value) {
  try {
    if (value === null) localStorage.removeItem(what);
    else localStorage.setItem(what, value);
  } catch {
    // Nothing to do: see above.
  }
}
