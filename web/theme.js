// @ts-check
// Light, dark, or as the system says.

import { recall, remember } from "./memory.js";

/** @type {readonly ["auto", "light", "dark"]} */
const THEMES = ["auto", "light", "dark"];
const WORDS = { auto: "as the system", light: "light", dark: "dark" };

/** @typedef {typeof THEMES[number]} Theme */

/**
 * Show the remembered theme at once; the button goes to the next one.
 * @param {HTMLButtonElement} button
 */
export function wireTheme(button) {
  const root = document.documentElement;
  /** @type {Theme} */
  let theme = THEMES.find((known) => known === recall("theme")) ?? "auto";
  const show = () => {
    root.dataset["theme"] = theme;
    button.setAttribute("aria-label", `Theme: ${WORDS[theme]}`);
    button.title = `Theme: ${WORDS[theme]}`;
  };
  button.addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length] ?? "auto";
    remember("theme", theme === "auto" ? null : theme);
    show();
  });
  show();
}
