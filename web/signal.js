// @ts-check
// The page's end of the signalling: JSON messages over one WebSocket that comes back by itself.

/**
 * What the page says.
 * @typedef {{type: "call", call: string, to: string, sdp: string, options: Record<string, unknown>}} PlaceMessage
 * @typedef {{type: "accept", call: string, sdp: string}} AcceptMessage
 * @typedef {{type: "decline", call: string}} DeclineMessage
 * @typedef {{type: "candidate", call: string, candidate: string, ufrag: string}} CandidateMessage
 * @typedef {{type: "digit", call: string, digit: string, duration_ms: number}} DigitMessage
 * @typedef {{type: "bye", call: string}} ByeMessage
 * @typedef {{type: "leaving"}} LeavingMessage
 * @typedef {{type: "ping"}} PingMessage
 * @typedef {PlaceMessage | AcceptMessage | DeclineMessage | CandidateMessage | DigitMessage
 *     | ByeMessage | LeavingMessage | PingMessage} ToGateway
 */

/**
 * What the gateway says.
 * @typedef {{codec?: string | null, rtt_ms?: number | null, jitter_ms?: number | null, loss_percent?: number | null}} LegQuality
 * @typedef {{type: "hello", version: string}} Hello
 * @typedef {{type: "answer", call: string, id: string, sdp: string}} Answer
 * @typedef {{type: "progress", call: string, status: number, reason: string, early_media: boolean}} Progress
 * @typedef {{type: "answered", call: string, codec: {browser?: string, peer?: string}}} Answered
 * @typedef {{type: "digit", call: string, digit: string, phase: "start" | "end"}} Digit
 * @typedef {{type: "quality", call: string, legs: {browser?: LegQuality, peer?: LegQuality}}} Quality
 * @typedef {{type: "ladder", call: string, at_ms: number, lane: "browser" | "peer", sent: boolean, text: string}} LadderStep
 * @typedef {{type: "held", call: string, who: "you" | "far-end", by: "far-end" | "gateway"}} Held
 * @typedef {{type: "resumed", call: string}} Resumed
 * @typedef {{type: "incoming", call: string, from: string, to: string}} Incoming
 * @typedef {{type: "ended", call: string, reason: string, status: number, text: string, fault: string}} Ended
 * @typedef {{type: "pong"}} Pong
 * @typedef {{type: "error", call: string | null, code: string, text: string}} Refusal
 * @typedef {Hello | Answer | Progress | Answered | Digit | Quality | LadderStep | Held | Resumed
 *     | Incoming | Ended | Pong | Refusal} FromGateway
 */

/**
 * `connecting`: the first try runs. `open`: messages flow. `waiting`: lost; tries again by itself.
 * @typedef {"connecting" | "open" | "waiting"} SignalState
 */

/** How often the gateway is asked whether it is there. Nothing heard from one to the next is a loss. */
const PING_EVERY_MS = 10_000;
/** The first wait after a loss, doubled with each failure. */
const FIRST_RETRY_MS = 500;
/** The longest wait: a person who restarts the gateway should not have to reload the page. */
const LONGEST_RETRY_MS = 8_000;

export class Signal {
  /** @type {SignalState} */
  state = "connecting";
  /** The gateway's version, from its hello. */
  version = "";

  /** @type {WebSocket | null} */
  #socket = null;
  #failures = 0;
  /** Whether nothing was heard since the last ping, or the try to connect. */
  #quiet = false;
  /** @type {number | undefined} */
  #retry;
  /** @type {ByeMessage[]} hang-ups that could not be said; they are said after the reconnection. */
  #owed = [];

  /**
   * @param {string} url
   * @param {string[]} protocols offered to the server, the token among them
   * @param {{onMessage: (message: FromGateway) => void, onState: (state: SignalState) => void}} to
   */
  constructor(url, protocols, { onMessage, onState }) {
    this.url = url;
    this.protocols = protocols;
    this.onMessage = onMessage;
    this.onState = onState;
    setInterval(() => this.#ping(), PING_EVERY_MS);
    // A network that has just come back need not wait for the back-off.
    addEventListener("online", () => this.#hurry());
  }

  /** Connect now. */
  open() {
    clearTimeout(this.#retry);
    this.#quiet = false;
    const socket = new WebSocket(this.url, this.protocols);
    this.#socket = socket;
    socket.onopen = () => this.#opened();
    socket.onmessage = (event) => this.#received(event.data);
    socket.onclose = () => this.#lost(socket);
  }

  /**
   * Send a message if the gateway can be reached. A `bye` that cannot is kept until it can.
   * @param {ToGateway} message
   * @returns {boolean} whether it went out
   */
  send(message) {
    if (this.state === "open" && this.#socket?.readyState === WebSocket.OPEN) {
      this.#socket.send(JSON.stringify(message));
      return true;
    }
    if (message.type === "bye") this.#owed.push(message);
    return false;
  }

  #opened() {
    this.#failures = 0;
    this.#quiet = false;
    this.#change("open");
    for (const bye of this.#owed.splice(0)) this.send(bye);
  }

  /** @param {unknown} data */
  #received(data) {
    this.#quiet = false;
    const message = parseMessage(data);
    if (message === null) return;
    if (message.type === "hello") this.version = String(message.version);
    this.onMessage(message);
  }

  /** @param {WebSocket} socket */
  #lost(socket) {
    if (socket !== this.#socket) return;
    this.#socket = null;
    // Half of the wait is chance, so that a restarted gateway does not meet all its pages at once.
    const wait = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** this.#failures++);
    this.#retry = setTimeout(() => this.open(), wait * (0.5 + Math.random() / 2));
    this.#change("waiting");
  }

  #hurry() {
    if (this.state === "waiting" && this.#socket === null) this.open();
  }

  #ping() {
    const socket = this.#socket;
    if (socket === null) return;
    if (this.#quiet) {
      // A dead path neither opens nor closes a socket in time: drop it ourselves.
      socket.close();
      this.#lost(socket);
      return;
    }
    this.#quiet = true;
    this.send({ type: "ping" });
  }

  /** @param {SignalState} state */
  #change(state) {
    if (state === this.state) return;
    this.state = state;
    this.onState(state);
  }
}

/**
 * @param {unknown} data
 * @returns {FromGateway | null} null for what is no message; unknown types are left to the caller to ignore
 */
function parseMessage(data) {
  if (typeof data !== "string") return null;
  try {
    const message = JSON.parse(data);
    return typeof message?.type === "string" ? message : null;
  } catch {
    return null;
  }
}
