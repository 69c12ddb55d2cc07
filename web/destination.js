// @ts-check
// Whom to call: a combobox over what the gateway offers (ARIA APG, "editable combobox with list").

import { makeElement } from "./element.js";

/**
 * @typedef {{to: string, name: string, kind: "number" | "agent", description: string}} Destination
 */

const HEADINGS = { agent: "Agents", number: "Test numbers" };
/** The gateway's own limit; nothing that is longer was meant. */
const MAX_LENGTH = 128;

/**
 * What an entry means: a name (on the list or not, the gateway knows), an address, or a number
 * however people write it.
 * @param {string} entry
 * @param {readonly Destination[]} known
 * @returns {string | null} what to send as `to`; null if it cannot be dialled
 */
export function resolveDestination(entry, known) {
  const text = entry.trim();
  const same = (/** @type {string} */ other) => other.toLowerCase() === text.toLowerCase();
  const listed = known.find(({ to }) => same(to)) ?? known.find(({ name }) => same(name));
  if (listed) return listed.to;
  if (text.length > MAX_LENGTH) return null;
  if (/^(agent|user|trunk|tel|sips?):\S+$/i.test(text) || /^[a-z][\w.-]*$/i.test(text)) return text;
  // Behind a number there may be keys to be pressed toward who answers.
  const end = text.search(/[,;]/);
  const number = (end < 0 ? text : text.slice(0, end)).replace(/[\s()./-]/g, "");
  const keys = end < 0 ? "" : text.slice(end).replace(/\s/g, "");
  return /^\+?[0-9*#]{1,32}$/.test(number) && /^[0-9*#A-Dwp,;]*$/.test(keys) ? number + keys : null;
}

/**
 * Whether to suggest it; what is already entered in full needs no suggestion.
 * @param {Destination} destination
 * @param {string} wanted in lower case
 */
function matches({ to, name, description }, wanted) {
  return to.toLowerCase() !== wanted && `${to} ${name} ${description}`.toLowerCase().includes(wanted);
}

export class DestinationField {
  /** @type {readonly Destination[]} */
  #known = [];
  /** Whether somebody types before it is known whom there is to call. */
  #isAwaited = false;
  /** @type {HTMLElement[]} the options shown now */
  #options = [];
  #active = -1;

  /**
   * @param {object} of
   * @param {HTMLInputElement} of.input
   * @param {HTMLButtonElement} of.toggle
   * @param {HTMLElement} of.list
   * @param {() => void} of.onInput the entry changed
   */
  constructor({ input, toggle, list, onInput }) {
    this.input = input;
    this.toggle = toggle;
    this.list = list;
    this.onInput = onInput;
    input.addEventListener("input", () => this.#edited());
    input.addEventListener("click", () => this.#open(""));
    input.addEventListener("keydown", (event) => this.#keyed(event));
    input.addEventListener("blur", () => this.close());
    toggle.addEventListener("click", () => this.#toggled());
    // Pressing on the list must not take the focus from the field, or the list would close first.
    for (const part of [list, toggle]) part.addEventListener("pointerdown", (e) => e.preventDefault());
    list.addEventListener("click", (event) => {
      const option = event.target instanceof Element ? event.target.closest("[role=option]") : null;
      if (option instanceof HTMLElement) this.#choose(option);
    });
  }

  get entry() {
    return this.input.value;
  }

  set entry(text) {
    this.input.value = text;
    this.onInput();
  }

  /** What to dial, or null. */
  get to() {
    return resolveDestination(this.entry, this.#known);
  }

  /** @param {readonly Destination[]} known */
  offer(known) {
    this.#known = known;
    this.toggle.hidden = known.length === 0;
    if (this.#isOpen || this.#isAwaited) this.#open(this.entry);
  }

  /**
   * The name that goes with an address, if it has one of its own.
   * @param {string} to
   */
  nameOf(to) {
    const name = this.#known.find((destination) => destination.to === to)?.name ?? "";
    return name === to ? "" : name;
  }

  /** While a call runs, the entry stands. @param {boolean} locked */
  lock(locked) {
    this.input.readOnly = locked;
    this.toggle.disabled = locked;
    if (locked) this.close();
  }

  close() {
    this.#isAwaited = false;
    this.list.hidden = true;
    this.input.setAttribute("aria-expanded", "false");
    this.#activate(-1);
  }

  get #isOpen() {
    return !this.list.hidden;
  }

  #edited() {
    this.#open(this.entry);
    this.onInput();
  }

  #toggled() {
    if (this.#isOpen) {
      this.close();
    } else {
      this.input.focus();
      this.#open("");
    }
  }

  /** @param {KeyboardEvent} event */
  #keyed(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step !== undefined && !this.input.readOnly) {
      event.preventDefault();
      if (this.#isOpen) this.#step(step);
      else if (this.#open("") && !event.altKey) this.#activate(step > 0 ? 0 : this.#options.length - 1);
    } else if (event.key === "Enter") {
      const option = this.#options[this.#active];
      if (!option || !this.#isOpen) return; // the form's own Enter: call
      event.preventDefault();
      this.#choose(option);
    } else if (event.key === "Escape") {
      if (this.#isOpen) this.close();
      else if (!this.input.readOnly) this.entry = "";
    }
  }

  /** @param {number} by */
  #step(by) {
    const count = this.#options.length;
    const from = this.#active < 0 && by < 0 ? 0 : this.#active;
    this.#activate((from + by + count) % count);
  }

  /**
   * @param {string} filter
   * @returns {boolean} whether there is something to show
   */
  #open(filter) {
    const wanted = filter.trim().toLowerCase();
    this.#isAwaited = this.#known.length === 0;
    const found = this.input.readOnly ? [] : this.#known.filter((d) => matches(d, wanted));
    this.#options = [];
    this.list.replaceChildren(...this.#groups(found));
    this.list.hidden = found.length === 0;
    this.input.setAttribute("aria-expanded", String(found.length > 0));
    this.#activate(-1);
    return found.length > 0;
  }

  /**
   * @param {readonly Destination[]} found
   * @returns {HTMLElement[]}
   */
  #groups(found) {
    /** @type {HTMLElement[]} */
    const groups = [];
    for (const kind of /** @type {const} */ (["agent", "number"])) {
      const members = found.filter((d) => (d.kind === "agent") === (kind === "agent"));
      if (members.length === 0) continue;
      const group = makeElement("div", "options");
      const heading = makeElement("div", "options-heading", HEADINGS[kind]);
      heading.id = `options-${kind}`;
      heading.setAttribute("role", "presentation");
      group.setAttribute("role", "group");
      group.setAttribute("aria-labelledby", heading.id);
      group.append(heading, ...members.map((destination) => this.#option(destination)));
      groups.push(group);
    }
    return groups;
  }

  /** @param {Destination} destination */
  #option({ to, name, description }) {
    const option = makeElement("div", "option");
    option.id = `option-${this.#options.length}`;
    option.setAttribute("role", "option");
    option.setAttribute("aria-selected", "false");
    option.dataset["to"] = to;
    option.append(
      makeElement("span", "option-name", name || to),
      makeElement("span", "option-to", name === to ? "" : to),
      makeElement("span", "option-description", description ?? ""),
    );
    this.#options.push(option);
    return option;
  }

  /** @param {number} index -1 for none */
  #activate(index) {
    this.#options[this.#active]?.setAttribute("aria-selected", "false");
    this.#active = index;
    const option = this.#options[index];
    if (option) {
      option.setAttribute("aria-selected", "true");
      option.scrollIntoView({ block: "nearest" });
      this.input.setAttribute("aria-activedescendant", option.id);
    } else {
      this.input.removeAttribute("aria-activedescendant");
    }
  }

  /** @param {HTMLElement} option */
  #choose(option) {
    this.entry = option.dataset["to"] ?? "";
    this.close();
  }
}
