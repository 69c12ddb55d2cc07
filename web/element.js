// @ts-check
// The two things done with elements everywhere: find one of the page's own, make one with text.

/**
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 */
export function findElement(id, type) {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new TypeError(`the page has no ${type.name} #${id}`);
  return found;
}

/**
 * Text is always set as text: what others wrote never becomes markup.
 * @param {string} tag
 * @param {string} className
 * @param {string} [text]
 */
export function makeElement(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}
