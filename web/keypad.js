// @ts-check
// The twelve keys, by mouse, touch and keyboard.

const KEYS = "0123456789*#";
/** How long a key that was pressed on the keyboard looks pressed. */
const FLASH_MS = 120;

/**
 * @param {HTMLElement} pad holds a button with `data-digit` per key
 * @param {(digit: string) => void} onDigit
 * @param {() => boolean} hearsKeyboard whether digits typed anywhere on the page are for the keypad now
 */
export function wireKeypad(pad, onDigit, hearsKeyboard) {
  pad.addEventListener("click", (event) => {
    const key = event.target instanceof Element ? event.target.closest("button") : null;
    if (key?.dataset["digit"]) onDigit(key.dataset["digit"]);
  });
  document.addEventListener("keydown", (event) => {
    if (event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key.length !== 1 || !KEYS.includes(event.key) || !hearsKeyboard()) return;
    event.preventDefault();
    flash(pad.querySelector(`[data-digit="${event.key}"]`));
    onDigit(event.key);
  });
}

/** @param {Element | null} key */
function flash(key) {
  key?.classList.add("pressed");
  setTimeout(() => key?.classList.remove("pressed"), FLASH_MS);
}
