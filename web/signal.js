// @ts-check
// The page's end of the signalling: JSON messages to the gateway, over one WebSocket after another.
//
// What is said of calls is counted, kept until the gateway has acknowledged it, and said again over
// another socket when it has not within 400 ms: done twice it is not. A new socket says by a token
// whose page it is, and hears what was missed. So a page may change networks, and be reloaded.

/**
 * What the page says.
 * @typedef {{type: "call", call: string, to: string, sdp: string, options: Record<string, unknown>}} PlaceMessage
 * @typedef {{type: "accept", call: string, sdp: string}} AcceptMessage
 * @typedef {{type: "offer", call: string, sdp: string}} OfferMessage
 * @typedef {{type: "answer", call: string, sdp: string}} AnswerMessage
 * @typedef {{type: "resume", call: string, sdp: string}} ResumeMessage
 * @typedef {{type: "decline", call: string}} DeclineMessage
 * @typedef {{type: "candidate", call: string, candidate: string, ufrag: string}} CandidateMessage
 * @typedef {{type: "digit", call: string, digit: string, duration_ms: number}} DigitMessage
 * @typedef {{type: "bye", call: string}} ByeMessage
 * @typedef {PlaceMessage | AcceptMessage | OfferMessage | AnswerMessage | ResumeMessage
 *     | DeclineMessage | CandidateMessage | DigitMessage | ByeMessage} ToGateway
 */

/**
 * How a call stands, for a page that was reloaded.
 * @typedef {object} Standing
 * @property {string} call
 * @property {string} id the gateway's name for it
 * @property {string} to
 * @property {"out" | "in"} direction
 * @property {"incoming" | "connecting" | "ringing" | "early-media" | "in-call"} state
 * @property {number} [status]
 * @property {string} [reason]
 * @property {number | null} answered_ms how long ago it was answered
 * @property {Pick<Held, "who" | "by"> | null} held
 */

/**
 * What the gateway says.
 * @typedef {{codec?: string | null, rtt_ms?: number | null, jitter_ms?: number | null, loss_percent?: number | null,
 *     mos?: number | null, alerts?: QualityAlert[]}} LegQuality
 * @typedef {{alert: "one-way-audio" | "high-loss" | "clipping", direction: "received" | "sent"}} QualityAlert
 * @typedef {{type: "hello", version: string, page: string, ice_servers?: RTCIceServer[]}} Hello
 * @typedef {{type: "attached", page: string, seen: number, told: number, calls: Standing[], ice_servers?: RTCIceServer[]}} Attached
 * @typedef {{type: "ice-servers", ice_servers: RTCIceServer[]}} IceServers
 * @typedef {{type: "ack", n: number}} Ack
 * @typedef {{type: "offer", call: string, sdp: string}} Offer
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
 * @typedef {Hello | Attached | IceServers | Ack | Offer | Answer | Progress | Answered | Digit
 *     | Quality | LadderStep | Held | Resumed | Incoming | Ended | Pong | Refusal} FromGateway
 */

/**
 * `connecting`: the first try runs. `open`: messages flow. `waiting`: lost; tries again by itself.
 * @typedef {"connecting" | "open" | "waiting"} SignalState
 */

/** How often the gateway is asked whether it is there. Nothing heard from one to the next is a loss. */
const PING_EVERY_MS = 10_000;
/** In a call the gateway tells its quality every 2 s; without it the way to it is in doubt. */
const SILENT_IN_CALL_MS = 3_000;
const LOOK_EVERY_MS = 1_000;
/** A gateway that is reached answers within milliseconds; after this the way to it is in doubt. */
const ANSWER_WITHIN_MS = 400;
/** The longest wait for an acknowledgement, doubled with each socket that brought none. */
const LONGEST_ANSWER_MS = 6_400;
/** A socket on a path that is dead neither opens nor fails for a minute or two. */
const CONNECT_WITHIN_MS = 3_000;
/** The first wait after a loss, doubled with each failure. */
const FIRST_RETRY_MS = 500;
/** The longest wait: a person who restarts the gateway should not have to reload the page. */
const LONGEST_RETRY_MS = 8_000;
/** The longest wait in a call, which the gateway keeps for half a minute. */
const LONGEST_RETRY_IN_CALL_MS = 1_000;

export class Signal {
  /** @type {SignalState} */
  state = "connecting";
  /** The gateway's version, from its hello. */
  version = "";
  /** Says whose page this is, on another socket or after a reload. Good for one time. */
  token = "";
  /** @type {RTCIceServer[]} TURN servers, with credentials that are good now. */
  iceServers = [];
  /** Whether a call runs, for which the gateway is to be found again soon. */
  isUrgent = false;

  /** @type {WebSocket | null} the one that messages go over */
  #socket = null;
  /** @type {WebSocket | null} one that is to take its place */
  #next = null;
  #failures = 0;
  /** Whether nothing was heard since the last ping, or the try to connect. */
  #quiet = false;
  #heardAt = 0;
  /** @type {number | undefined} */
  #retry;
  /** @type {number | undefined} */
  #deadline;
  /** @type {number | undefined} */
  #repeat;
  #answerWithin = ANSWER_WITHIN_MS;
  /** @type {(ToGateway & {n: number})[]} said, and not yet acknowledged */
  #unheard = [];
  #said = 0;
  /** @type {number | null} the gateway's count of what it told last; null: all forgotten by a reload */
  #seen = null;

  /**
   * @param {string} url
   * @param {string[]} protocols offered to the server, the gateway's token among them
   * @param {{onMessage: (message: FromGateway) => void, onState: (state: SignalState) => void}} to
   */
  constructor(url, protocols, { onMessage, onState }) {
    this.url = url;
    this.protocols = protocols;
    this.onMessage = onMessage;
    this.onState = onState;
    setInterval(() => this.#ping(), PING_EVERY_MS);
    setInterval(() => this.#look(), LOOK_EVERY_MS);
  }

  /**
   * Connect now.
   * @param {string} [token] whose page this is, if it was reloaded
   */
  open(token = "") {
    this.token = token;
    this.#connect();
  }

  /** Something happened to the network: see whether the gateway is still reached. */
  refresh() {
    if (this.#socket === null) {
      this.#connect();
      return;
    }
    this.#quiet = true;
    this.#say(this.#socket, { type: "ping" });
    setTimeout(() => {
      if (this.#quiet && this.#next === null) this.#connect();
    }, ANSWER_WITHIN_MS);
  }

  /**
   * Say something of a call. It arrives once, now or when the gateway is reached again.
   * @param {ToGateway} message
   */
  send(message) {
    const counted = { ...message, n: ++this.#said };
    this.#unheard.push(counted);
    if (this.state === "open" && this.#socket !== null) {
      this.#say(this.#socket, counted);
      this.#await();
    }
  }

  /** The page is being left: the gateway need not wait as long as for one that was lost. */
  leave() {
    if (this.#socket !== null) this.#say(this.#socket, { type: "leaving" });
  }

  #connect() {
    clearTimeout(this.#retry);
    clearTimeout(this.#deadline);
    this.#next?.close();
    const socket = new WebSocket(this.url, this.protocols);
    this.#next = socket;
    socket.onopen = () => {
      if (this.token) this.#say(socket, { type: "attach", token: this.token, ...this.#sight() });
    };
    socket.onmessage = (event) => this.#received(socket, event.data);
    socket.onclose = () => this.#closed(socket);
    this.#deadline = setTimeout(() => this.#closed(socket), CONNECT_WITHIN_MS);
  }

  #sight() {
    return this.#seen === null ? {} : { seen: this.#seen };
  }

  /**
   * @param {WebSocket} socket
   * @param {object} message
   */
  #say(socket, message) {
    if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
  }

  /**
   * @param {WebSocket} socket
   * @param {unknown} data
   */
  #received(socket, data) {
    if (socket !== this.#socket && socket !== this.#next) return;
    const message = parseMessage(data);
    if (socket === this.#next) {
      if (message !== null) this.#greeted(socket, message);
      return;
    }
    this.#quiet = false;
    this.#heardAt = performance.now();
    if (message === null) return;
    if (message.type === "ack") {
      this.#acknowledged(message.n);
      return;
    }
    const count = /** @type {{n?: number}} */ (message).n;
    if (count !== undefined) {
      if (this.#seen !== null && count <= this.#seen) return;
      this.#seen = count;
    }
    if (message.type === "ice-servers") this.iceServers = message.ice_servers;
    this.onMessage(message);
  }

  /**
   * The first words on a new socket.
   * @param {WebSocket} socket
   * @param {FromGateway} message
   */
  #greeted(socket, message) {
    switch (message.type) {
      case "hello":
        this.version = String(message.version);
        if (this.token === "") {
          this.#seen = 0;
          this.#adopt(socket, message);
        } else {
          this.#fallback = message;
        }
        break;
      case "attached":
        this.#seen ??= message.told;
        this.#unheard = this.#unheard.filter(({ n }) => n > message.seen);
        this.#adopt(socket, message);
        break;
      case "error":
        // It does not know us (any more): it was restarted, or we were away for too long.
        if (this.#fallback === null) return;
        this.#unheard = [];
        this.#seen = 0;
        this.#adopt(socket, this.#fallback);
        this.onMessage(message);
        break;
    }
  }

  /** @type {Hello | null} who we are if we are not who we say */
  #fallback = null;

  /**
   * From now on messages go over this socket.
   * @param {WebSocket} socket
   * @param {Hello | Attached} greeting
   */
  #adopt(socket, greeting) {
    const old = this.#socket;
    this.#socket = socket;
    this.#next = this.#fallback = null;
    clearTimeout(this.#deadline);
    this.#failures = 0;
    this.#quiet = false;
    this.#heardAt = performance.now();
    this.token = greeting.page;
    this.iceServers = greeting.ice_servers ?? [];
    old?.close();
    this.onMessage(greeting);
    // Any word shows that we have the token, and that the one before is worth nothing any more.
    this.#say(socket, { type: "ping" });
    for (const message of this.#unheard) this.#say(socket, message);
    if (this.#unheard.length > 0) this.#await();
    this.#change("open");
  }

  #await() {
    this.#repeat ??= setTimeout(() => {
      this.#repeat = undefined;
      this.#answerWithin = Math.min(LONGEST_ANSWER_MS, 2 * this.#answerWithin);
      if (this.#unheard.length > 0 && this.state === "open" && this.#next === null) this.#connect();
    }, this.#answerWithin);
  }

  /** @param {number} count */
  #acknowledged(count) {
    this.#unheard = this.#unheard.filter(({ n }) => n > count);
    this.#answerWithin = ANSWER_WITHIN_MS;
    clearTimeout(this.#repeat);
    this.#repeat = undefined;
    if (this.#unheard.length > 0) this.#await();
  }

  /**
   * A socket has ended, or came to nothing.
   * @param {WebSocket} socket
   */
  #closed(socket) {
    const isNext = socket === this.#next;
    if (!isNext && socket !== this.#socket) return;
    socket.close();
    if (isNext) {
      clearTimeout(this.#deadline);
      this.#next = this.#fallback = null;
      // The one that it was to replace is in doubt for a reason.
      const old = this.#socket;
      this.#socket = null;
      old?.close();
    } else {
      this.#socket = null;
      if (this.#next !== null) return;
    }
    this.#lost();
  }

  #lost() {
    clearTimeout(this.#repeat);
    this.#repeat = undefined;
    // Half of the wait is chance, so that a restarted gateway does not meet all its pages at once.
    const longest = this.isUrgent ? LONGEST_RETRY_IN_CALL_MS : LONGEST_RETRY_MS;
    const wait = Math.min(longest, FIRST_RETRY_MS * 2 ** this.#failures++);
    this.#retry = setTimeout(() => this.#connect(), wait * (0.5 + Math.random() / 2));
    this.#change("waiting");
  }

  #look() {
    const isSilent = performance.now() - this.#heardAt > SILENT_IN_CALL_MS;
    if (this.isUrgent && isSilent && this.#socket !== null && this.#next === null) this.refresh();
  }

  #ping() {
    const socket = this.#socket;
    if (socket === null) return;
    if (this.#quiet && this.#next === null) {
      // A dead path does not close a socket in time: drop it ourselves.
      this.#closed(socket);
      return;
    }
    this.#quiet = true;
    this.#say(socket, { type: "ping" });
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
