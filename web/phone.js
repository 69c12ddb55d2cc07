// @ts-check
// The phone: wires the page's parts to the gateway and holds the one call that runs.
//
// For tests and developers `window.phone` tells how the last call goes: `state` ("ready" or a
// CallState), `call` (the Call), `pc` (its RTCPeerConnection), `remoteStream`, `gatewayId` (the
// gateway's id of it) and `quality()` (a promise of what the browser measures).
// URL: ?to=+15550100 fills in the destination, ?processing=off switches audio processing off,
// ?relay=on sends media through TURN alone,
// #token=… lets the page in where the gateway asks for a token.

import { Call } from "./call.js";
import { DestinationField } from "./destination.js";
import { findElement } from "./element.js";
import { PROBLEMS, explainBadNumber, explainRefusal } from "./errors.js";
import { IncomingBanner } from "./incoming.js";
import { wireKeypad } from "./keypad.js";
import { Ladder } from "./ladder.js";
import { recall, remember } from "./memory.js";
import { mayUseMicrophone } from "./microphone.js";
import { onNetworkChange } from "./network.js";
import { QualityTable, measure } from "./quality.js";
import { KeptCall } from "./resume.js";
import { Screen, showExplanation } from "./screen.js";
import { Signal } from "./signal.js";
import { Sound } from "./sound.js";
import { wireTheme } from "./theme.js";
import { authorization, readToken, subprotocols } from "./token.js";
import { TrunkLine } from "./trunks.js";

/**
 * @typedef {import("./errors.js").Explanation} Explanation
 * @typedef {import("./signal.js").FromGateway} FromGateway
 * @typedef {import("./signal.js").SignalState} SignalState
 * @typedef {import("./signal.js").Incoming} Incoming
 * @typedef {import("./signal.js").Standing} Standing
 */

const REFRESH_EVERY_MS = 1000;
const LINK_WORDS = { connecting: "connecting", open: "connected", waiting: "lost" };
/** In a call it is not for the person to do something: what was lost comes back by itself. */
const LINK_WORDS_IN_CALL = { ...LINK_WORDS, waiting: "reconnecting" };

class Phone {
  /** @type {Call | null} the call that runs, or ran last */
  call = null;

  /** @type {Explanation | null} why the last wish was not fulfilled */
  #refusal = null;
  /** @type {import("./resume.js").Kept | null} the call that a reload has interrupted */
  #left = null;
  #relayOnly = false;
  /** Which call the ladder and the figures show. */
  #shown = "";
  /** @type {number | undefined} */
  #refresh;
  #digits = { sent: "", received: "" };

  #screen = new Screen();
  #sound = new Sound();
  #kept = new KeptCall();
  #quality = new QualityTable(findElement("quality", HTMLTableElement), findElement("verdict", HTMLElement));
  #ladder = new Ladder(
    findElement("ladder-scroller", HTMLElement),
    findElement("ladder", HTMLOListElement),
    findElement("ladder-empty", HTMLElement),
  );
  #placeButton = findElement("place", HTMLButtonElement);
  #hangUpButton = findElement("hang-up", HTMLButtonElement);
  #muteButton = findElement("mute", HTMLButtonElement);
  #processing = findElement("processing", HTMLInputElement);
  #destination = new DestinationField({
    input: findElement("destination", HTMLInputElement),
    toggle: findElement("destination-toggle", HTMLButtonElement),
    list: findElement("destination-list", HTMLElement),
    onInput: () => this.#refuse(null),
  });
  #incoming = new IncomingBanner({
    onAccept: ({ call, from }) => this.#accept(call, from),
    onDecline: ({ call }) => this.#signal.send({ type: "decline", call }),
  });
  #token = readToken();
  #trunks = new TrunkLine(findElement("trunks", HTMLElement), authorization(this.#token));
  #signal = new Signal(signalUrl(), subprotocols(this.#token), {
    onMessage: (message) => this.#received(message),
    onState: (state) => this.#linkChanged(state),
  });

  async start() {
    this.#applyUrl(new URLSearchParams(location.search));
    this.#wire();
    showExplanation(findElement("origin-notice", HTMLElement), mayUseMicrophone() ? null : PROBLEMS.insecureOrigin);
    this.#linkChanged(this.#signal.state);
    this.#render();
    this.#left = await this.#kept.recall();
    this.#signal.open(this.#left?.token);
  }

  /** @param {URLSearchParams} query */
  #applyUrl(query) {
    this.#destination.entry = query.get("to") ?? recall("destination") ?? "";
    this.#processing.checked = (query.get("processing") ?? recall("processing")) !== "off";
    this.#relayOnly = query.get("relay") === "on";
  }

  #wire() {
    wireTheme(findElement("theme", HTMLButtonElement));
    findElement("dial", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      this.#place();
    });
    this.#hangUpButton.addEventListener("click", () => this.call?.hangUp());
    this.#muteButton.addEventListener("click", () => this.call?.mute(!this.call.muted));
    this.#processing.addEventListener("change", () => {
      remember("processing", this.#processing.checked ? null : "off");
      this.#render();
    });
    wireKeypad(findElement("keypad", HTMLElement), (digit) => this.#press(digit), () => this.#isLive);
    addEventListener("pagehide", () => this.#signal.leave());
    addEventListener("pageshow", ({ persisted }) => { if (persisted) this.#signal.refresh(); });
    onNetworkChange(() => {
      this.#signal.refresh();
      this.call?.networkChanged();
    });
  }

  get #isLive() {
    return this.call !== null && this.call.state !== "ended";
  }

  // ---- what the person wants

  #place() {
    const { entry, to } = this.#destination;
    if (this.#isLive) return this.#refuse(PROBLEMS.alreadyInCall);
    if (entry.trim() === "") return this.#refuse(PROBLEMS.noDestination);
    if (to === null) return this.#refuse(explainBadNumber(entry.trim()));
    remember("destination", entry.trim());
    this.#begin(new Call({ ...this.#callParts(newCallId()), party: to, direction: "out" }));
  }

  /**
   * @param {string} id
   * @param {string} from
   */
  #accept(id, from) {
    if (!mayUseMicrophone()) {
      this.#signal.send({ type: "decline", call: id });
      return this.#refuse(PROBLEMS.insecureOrigin);
    }
    if (this.#isLive) this.call?.hangUp();
    this.#begin(new Call({ ...this.#callParts(id), party: from, direction: "in" }));
  }

  /** @param {string} id */
  #callParts(id) {
    return {
      id,
      signal: this.#signal,
      relayOnly: this.#relayOnly,
      onChange: (/** @type {Call} */ call) => this.#callChanged(call),
    };
  }

  /** @param {Call} call */
  #begin(call) {
    if (!mayUseMicrophone()) return this.#refuse(PROBLEMS.insecureOrigin);
    if (this.#signal.state !== "open") return this.#refuse(PROBLEMS.gatewayLost);
    this.#take(call);
    void this.#kept.hold(call);
    void call.start({ processing: this.#processing.checked });
    this.#hangUpButton.focus();
  }

  /** @param {Call} call */
  #take(call) {
    this.call = call;
    this.#refusal = null;
    this.#digits = { sent: "", received: "" };
    this.#showCallOf(call.id);
    this.#sound.begin();
    this.#refresh = setInterval(() => void this.#refreshFigures(call), REFRESH_EVERY_MS);
    this.#signal.isUrgent = true;
    this.#keep();
  }

  /** Be in the call again that a reload has interrupted, if it still goes on. */
  #comeBack(/** @type {Standing[]} */ standings) {
    const left = this.#left;
    this.#left = null;
    for (const standing of standings) {
      if (standing.state === "incoming") this.#offered({ type: "incoming", call: standing.call, from: "", to: "" });
      else if (standing.call !== left?.call) this.#signal.send({ type: "bye", call: standing.call });
    }
    const standing = standings.find(({ call, state }) => call === left?.call && state !== "incoming");
    if (left === null) return;
    if (standing === undefined) return this.#notResumed();
    const call = new Call({ ...this.#callParts(left.call), party: left.party, direction: left.direction });
    call.muted = left.muted;
    this.#take(call);
    void call.resume(standing, { processing: this.#processing.checked });
  }

  #notResumed() {
    this.#kept.forget();
    this.#refuse(PROBLEMS.callNotResumed);
  }

  /** What a reload has to know. */
  #keep() {
    this.#kept.keep(this.call, this.#signal.token);
  }

  /** @param {string} digit */
  #press(digit) {
    if (this.call !== null && this.#isLive) {
      if (this.call.press(digit)) this.#digits.sent += digit;
      this.#render();
    } else {
      this.#destination.entry += digit;
    }
  }

  /** @param {Explanation | null} why */
  #refuse(why) {
    this.#refusal = why;
    this.#render();
  }

  // ---- what the gateway says

  /** @param {FromGateway} message */
  #received(message) {
    switch (message.type) {
      case "hello":
      case "attached":
        findElement("version", HTMLElement).textContent = `Gateway ${this.#signal.version}`;
        if (message.type === "attached" && this.#left !== null) this.#comeBack(message.calls);
        else this.#keep();
        break;
      case "incoming":
        this.#offered(message);
        break;
      case "ladder":
        if (message.call === this.#shown) this.#ladder.add(message);
        break;
      case "quality":
        this.#gatewayMeasured(message);
        break;
      case "digit":
        this.#digitReceived(message);
        break;
      case "error":
        if (message.code === "unknown-page") this.#forgotten();
        else if (message.call === null) this.#refuse(explainRefusal(message.text));
        else this.#callOf(message.call)?.handle(message);
        break;
      case "ended":
        if (message.call === this.#incoming.offered?.call) this.#incoming.hide();
        this.#callOf(message.call)?.handle(message);
        break;
      case "offer":
      case "answer":
      case "progress":
      case "answered":
      case "held":
      case "resumed":
        this.#callOf(message.call)?.handle(message);
        break;
    }
  }

  /** The gateway does not know this page any more: of its calls nothing is left. */
  #forgotten() {
    if (this.#left !== null) {
      this.#left = null;
      this.#notResumed();
    }
    this.call?.lose();
  }

  /** @param {string} id */
  #callOf(id) {
    return this.call?.id === id ? this.call : null;
  }

  /** @param {Incoming} message */
  #offered(message) {
    if (this.#incoming.offered !== null) {
      this.#signal.send({ type: "decline", call: message.call });
      return;
    }
    if (!this.#isLive) this.#showCallOf(message.call);
    this.#incoming.show(message, { busy: this.#isLive });
  }

  /** @param {import("./signal.js").Quality} message */
  #gatewayMeasured(message) {
    const { call, legs } = message;
    if (call !== this.call?.id || !this.#isLive) return;
    this.call.handle(message);
    this.#quality.show("browser", legs?.browser ?? {});
    this.#quality.show("peer", legs?.peer ?? {});
    this.#quality.showInWords(legs ?? {});
  }

  /** @param {import("./signal.js").Digit} message */
  #digitReceived({ call, digit, phase }) {
    if (phase !== "start" || this.#callOf(call) === null) return;
    this.#digits.received += String(digit);
    this.#render();
  }

  /** @param {SignalState} state */
  #linkChanged(state) {
    const link = findElement("link", HTMLElement);
    link.dataset["state"] = state;
    findElement("link-words", HTMLElement).textContent = (this.#isLive ? LINK_WORDS_IN_CALL : LINK_WORDS)[state];
    const lost = this.#isLive ? PROBLEMS.gatewayLostInCall : PROBLEMS.gatewayLost;
    showExplanation(findElement("link-notice", HTMLElement), state === "waiting" ? lost : null);
    if (state === "waiting") this.#incoming.hide();
    this.#trunks.linkChanged(state === "open");
    if (state === "open") {
      if (this.#refusal === PROBLEMS.gatewayLost) this.#refuse(null);
      void this.#loadDestinations();
    }
  }

  async #loadDestinations() {
    try {
      const response = await fetch("/v1/destinations", {
        headers: authorization(this.#token),
        signal: AbortSignal.timeout(5000),
      });
      if (!response.ok) return;
      const { destinations, notice } = await response.json();
      this.#destination.offer(Array.isArray(destinations) ? destinations : []);
      showExplanation(
        findElement("gateway-notice", HTMLElement),
        notice ? { title: "The gateway says", remedy: String(notice) } : null,
      );
    } catch {
      // Without suggestions a number can still be typed; a lost gateway is told by its own notice.
    }
  }

  // ---- how the call goes

  /** @param {Call} call */
  #callChanged(call) {
    if (call !== this.call) return;
    if (call.state === "ended") this.#callEnded();
    else this.#sound.follow(call, () => this.#playbackFailed(call));
    this.#keep();
    this.#refusal = null;
    this.#render();
  }

  /** @param {Call} call */
  #playbackFailed(call) {
    if (call === this.call && this.#isLive) this.#refuse(PROBLEMS.playbackBlocked);
  }

  #callEnded() {
    clearInterval(this.#refresh);
    this.#signal.isUrgent = false;
    this.#kept.forget();
    this.#sound.end();
  }

  /** @param {Call} call */
  async #refreshFigures(call) {
    this.#showDuration();
    if (call.pc === null) return;
    const measured = await measure(call.pc);
    if (call !== this.call || !this.#isLive) return;
    this.#quality.show("you", measured);
    this.#quality.showCodecs({ ...call.codec, browser: call.codec.browser || measured.codec || "" });
  }

  /** @param {string} id */
  #showCallOf(id) {
    this.#shown = id;
    this.#ladder.clear();
    this.#quality.clear();
    this.#screen.showDuration(null);
  }

  #showDuration() {
    const since = this.call?.answeredAt ?? null;
    this.#screen.showDuration(since === null ? null : (performance.now() - since) / 1000);
  }

  #render() {
    const { call } = this;
    const live = this.#isLive;
    const focused = document.activeElement;
    this.#screen.show(call, call === null ? "" : this.#destination.nameOf(call.party));
    this.#screen.showProblem(this.#refusal ?? call?.problem ?? null);
    this.#destination.lock(live);
    this.#placeButton.hidden = live;
    // Not `disabled`: pressed all the same, it says what is missing.
    this.#placeButton.setAttribute("aria-disabled", String(this.#destination.entry.trim() === ""));
    this.#hangUpButton.hidden = !live;
    this.#muteButton.disabled = !live;
    this.#muteButton.setAttribute("aria-pressed", String(live && (call?.muted ?? false)));
    findElement("processing-hint", HTMLElement).hidden = !live;
    findElement("call-id", HTMLElement).textContent = call?.gatewayId ?? "";
    if (live && call?.state === "in-call") {
      this.#showDuration();
      this.#quality.showCodecs(call.codec);
    }
    this.#showDigits();
    // A hidden button drops the focus to the top of the page; the next call should be one Enter away.
    if (!live && focused === this.#hangUpButton) this.#placeButton.focus();
  }

  #showDigits() {
    const { sent, received } = this.#digits;
    findElement("digits-sent", HTMLElement).textContent = sent;
    findElement("digits-received", HTMLElement).textContent = received;
  }
}

function signalUrl() {
  const url = new URL("/v1/signal", location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}

/** 64 random bits: unique among the calls of one page, and no guess for another. */
function newCallId() {
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

const phone = new Phone();
void phone.start();

Object.defineProperty(window, "phone", {
  value: Object.freeze({
    get call() { return phone.call; },
    get state() { return phone.call?.state ?? "ready"; },
    get path() { return phone.call?.path ?? ""; },
    get pc() { return phone.call?.pc ?? null; },
    get remoteStream() { return phone.call?.remoteStream ?? null; },
    get gatewayId() { return phone.call?.gatewayId ?? ""; },
    quality: async () => (phone.call?.pc ? measure(phone.call.pc) : null),
  }),
});
