// @ts-check
// One call: its states, the person's sound, and the messages about it.

import { Connection } from "./connection.js";
import { PROBLEMS, explainEnd, explainMicrophone, explainRefusal } from "./errors.js";
import { closeMicrophone, openMicrophone } from "./microphone.js";

/**
 * @typedef {import("./errors.js").Explanation} Explanation
 * @typedef {import("./errors.js").Ending} Ending
 * @typedef {import("./signal.js").FromGateway} FromGateway
 * @typedef {import("./signal.js").Held} Held
 * @typedef {import("./signal.js").Signal} Signal
 * @typedef {import("./signal.js").Standing} Standing
 * @typedef {"" | "reconnecting" | "resuming"} PathState empty while all is well
 * @typedef {"connecting" | "ringing" | "early-media" | "in-call" | "ended"} CallState
 */

/**
 * What may follow what; anything else comes too late or twice, and is ignored.
 * @type {Readonly<Record<CallState, readonly CallState[]>>}
 */
const FOLLOWS = {
  "connecting": ["ringing", "early-media", "in-call", "ended"],
  "ringing": ["early-media", "in-call", "ended"],
  "early-media": ["in-call", "ended"],
  "in-call": ["ended"],
  "ended": [],
};

/** The gateway answers an offer within milliseconds; after this it will not. */
const ANSWER_WITHIN_MS = 10_000;
/** How long the page says that the connection is back. */
const BACK_WORDS_MS = 5_000;
const BACK_WORDS = {
  "": "",
  "reconnecting": "The connection is back",
  "resuming": "Back in the call after the reload",
};
/** Time for `ended` to tell why, after the gateway has closed the media path. */
const ENDED_WITHIN_MS = 1_000;
/** One key press, and the pause after it (RTCDTMFSender's own defaults are 100 and 70). */
const DIGIT_MS = 120;
const DIGIT_GAP_MS = 70;

export class Call {
  /** @type {CallState} */
  state = "connecting";
  /** What it waits for or how it goes, e.g. "180 Ringing". */
  detail = "";
  /** @type {Explanation | null} what is wrong now, or why it ended */
  problem = null;
  /** Why it ended: follows "Ended: ". */
  why = "";
  /** The gateway's own name for this call, for its log and its API. */
  gatewayId = "";
  /** Codec names by leg, empty while unknown. */
  codec = { browser: "", peer: "" };
  /** @type {number | null} `performance.now()` of the answer */
  answeredAt = null;
  /** @type {MediaStream | null} */
  microphone = null;
  /** @type {MediaStream | null} */
  remoteStream = null;
  muted = false;
  /** @type {Pick<Held, "who" | "by"> | null} who is on hold, and by whom; null: nobody */
  hold = null;
  /** @type {PathState} what becomes of the sound */
  path = "";
  /** That the sound is back, in words, for a while. */
  back = "";

  /** @type {number | undefined} */
  #patience;
  /** @type {number | undefined} */
  #backTimer;
  #wasConnected = false;
  /** @type {Connection | null} */
  #connection = null;
  /** Whether the gateway knows of this call from us. */
  #offered = false;

  /**
   * @param {object} of
   * @param {string} of.id unique among this page's calls
   * @param {string} of.party whom we call, or who calls us
   * @param {"out" | "in"} of.direction
   * @param {Signal} of.signal
   * @param {boolean} of.relayOnly whether media goes through TURN alone
   * @param {(call: Call) => void} of.onChange after every change worth showing
   */
  constructor({ id, party, direction, signal, relayOnly, onChange }) {
    this.id = id;
    this.party = party;
    this.direction = direction;
    this.signal = signal;
    this.relayOnly = relayOnly;
    this.onChange = onChange;
  }

  get pc() {
    return this.#connection?.pc ?? null;
  }

  /**
   * Ask for the microphone, then send the offer; ICE candidates follow it.
   * @param {{processing: boolean}} options
   */
  async start({ processing }) {
    const sdp = await this.#prepare(processing);
    if (sdp === null) return;
    this.signal.send(
      this.direction === "out"
        ? { type: "call", call: this.id, to: this.party, sdp, options: {} }
        : { type: "accept", call: this.id, sdp },
    );
    this.#offered = true;
    this.#expectAnswer();
  }

  /**
   * Go on after the page was reloaded: the same call, another peer connection.
   * @param {Standing} standing how the call stands
   * @param {{processing: boolean}} options
   */
  async resume(standing, { processing }) {
    this.path = "resuming";
    this.#offered = true;
    this.hold = standing.held;
    if (standing.answered_ms !== null) this.answeredAt = performance.now() - standing.answered_ms;
    const words = [standing.status, standing.reason].filter(Boolean).join(" ");
    if (standing.state !== "incoming") this.#move(standing.state, words);
    const sdp = await this.#prepare(processing);
    if (sdp === null) return;
    this.signal.send({ type: "resume", call: this.id, sdp });
    this.#expectAnswer();
  }

  /**
   * Microphone and peer connection.
   * @param {boolean} processing
   * @returns {Promise<string | null>} the offer; null when the call ended meanwhile
   */
  async #prepare(processing) {
    this.#note("Waiting for your microphone…");
    try {
      this.microphone = await openMicrophone(processing);
    } catch (error) {
      this.#fail("no microphone", explainMicrophone(error));
      return null;
    }
    if (this.state === "ended") {
      // Hung up while the browser was still asking.
      closeMicrophone(this.microphone);
      return null;
    }
    this.mute(this.muted);
    this.#note("Reaching the gateway…");
    for (const track of this.microphone.getAudioTracks()) {
      track.onended = () => this.#warn(PROBLEMS.microphoneLost);
    }
    this.#connection = new Connection({
      call: this.id,
      signal: this.signal,
      relayOnly: this.relayOnly,
      on: {
        path: (event) => this.#pathChanged(event),
        sound: (stream) => this.#heard(stream),
        problem: (problem) => this.#negotiationFailed(problem),
      },
    });
    return this.#connection.offer(this.microphone);
  }

  #expectAnswer() {
    this.#patience = setTimeout(
      () => this.#fail("no answer from the gateway", PROBLEMS.gatewaySilent),
      ANSWER_WITHIN_MS,
    );
  }

  /**
   * A message of the gateway about this call.
   * @param {FromGateway} message
   */
  handle(message) {
    switch (message.type) {
      case "answer":
        this.#answered(message.id);
        this.#connection?.accept(message.sdp);
        break;
      case "offer":
        this.#connection?.acceptOffer(message.sdp);
        break;
      case "progress":
        this.#progress(message.status, message.reason, message.early_media);
        break;
      case "answered":
        this.answeredAt ??= performance.now();
        this.#move("in-call", "");
        this.#learnCodecs(message.codec?.browser, message.codec?.peer);
        break;
      case "quality":
        this.#learnCodecs(message.legs?.browser?.codec, message.legs?.peer?.codec);
        break;
      case "held":
        this.#held({ who: message.who, by: message.by });
        break;
      case "resumed":
        this.#held(null);
        break;
      case "ended":
        this.#end(explainEnd(message, this.answeredAt !== null));
        break;
      case "error":
        // Before our offer is answered it means the offer; later one message more or less.
        if (this.gatewayId === "") this.#fail("refused", explainRefusal(message.text));
        else this.#warn(explainRefusal(message.text));
        break;
    }
  }

  hangUp() {
    if (this.state === "ended") return;
    this.#sayGoodbye();
    this.#end({ why: this.state === "in-call" ? "you hung up" : "you cancelled", problem: null });
  }

  /** The gateway knows nothing of it any more. */
  lose() {
    if (this.#offered) this.#end({ why: "connection lost", problem: PROBLEMS.callNotResumed });
  }

  /** @param {boolean} muted */
  mute(muted) {
    this.muted = muted;
    for (const track of this.microphone?.getAudioTracks() ?? []) track.enabled = !muted;
    this.onChange(this);
  }

  /** The network changed: a path that still works is moved before it breaks. */
  networkChanged() {
    if (this.state !== "ended") this.#connection?.networkChanged();
  }

  /**
   * Press a key: as RTP telephone-events, or as a message where they were not agreed upon.
   * @param {string} digit one of 0–9 * #
   * @returns {boolean} whether it was pressed: before the offer nobody is there to hear it
   */
  press(digit) {
    if (!this.#offered) return false;
    const dtmf = this.#connection?.dtmf;
    if (dtmf?.canInsertDTMF) {
      dtmf.insertDTMF(dtmf.toneBuffer + digit, DIGIT_MS, DIGIT_GAP_MS);
    } else {
      this.signal.send({ type: "digit", call: this.id, digit, duration_ms: DIGIT_MS });
    }
    return true;
  }

  /** @param {string} gatewayId */
  #answered(gatewayId) {
    clearTimeout(this.#patience);
    if (this.state === "ended") return;
    this.gatewayId = gatewayId;
    if (this.state === "connecting") this.#note("Waiting for the far end…");
  }

  /** @param {MediaStream} stream */
  #heard(stream) {
    this.remoteStream = stream;
    this.onChange(this);
  }

  /** @param {Explanation} problem */
  #negotiationFailed(problem) {
    if (this.#wasConnected) this.#warn(problem);
    else this.#fail("refused", problem);
  }

  /**
   * @param {number} status
   * @param {string} reason
   * @param {boolean} earlyMedia
   */
  #progress(status, reason, earlyMedia) {
    const detail = `${status} ${reason}`;
    if (earlyMedia) this.#move("early-media", detail);
    else if (status === 180) this.#move("ringing", detail);
    else if (this.state === "connecting") this.#note(detail);
  }

  /**
   * @param {string | null | undefined} browser
   * @param {string | null | undefined} peer
   */
  #learnCodecs(browser, peer) {
    this.codec = { browser: browser || this.codec.browser, peer: peer || this.codec.peer };
    if (this.state === "in-call") this.#note(Object.values(this.codec).filter(Boolean).join(" ⇄ "));
  }

  /** @param {Pick<Held, "who" | "by"> | null} hold */
  #held(hold) {
    if (this.state === "ended") return;
    this.hold = hold;
    this.onChange(this);
  }

  /** @param {import("./connection.js").PathEvent} event */
  #pathChanged(event) {
    switch (event) {
      case "connected":
        this.#pathRestored();
        break;
      case "lost":
        this.path = "reconnecting";
        this.back = "";
        this.onChange(this);
        break;
      case "failed":
        this.#fail("audio lost", PROBLEMS.pathLost);
        break;
      case "closed":
        this.#pathClosed();
        break;
    }
  }

  #pathRestored() {
    this.#wasConnected = true;
    this.back = BACK_WORDS[this.path];
    this.path = "";
    clearTimeout(this.#backTimer);
    this.#backTimer = setTimeout(() => {
      this.back = "";
      this.onChange(this);
    }, BACK_WORDS_MS);
    this.onChange(this);
  }

  /** The gateway has closed the media path: the call is over, even if no message can say so. */
  #pathClosed() {
    clearTimeout(this.#patience);
    this.#patience = setTimeout(
      () => this.#end({ why: "closed by the gateway", problem: null }),
      ENDED_WITHIN_MS,
    );
  }

  /**
   * @param {string} why
   * @param {Explanation} problem
   */
  #fail(why, problem) {
    if (this.state === "ended") return;
    this.#sayGoodbye();
    this.#end({ why, problem });
  }

  #sayGoodbye() {
    if (this.#offered) this.signal.send({ type: "bye", call: this.id });
    else if (this.direction === "in") this.signal.send({ type: "decline", call: this.id });
  }

  /** @param {Ending} ending */
  #end({ why, problem }) {
    if (this.state === "ended") return;
    clearTimeout(this.#patience);
    clearTimeout(this.#backTimer);
    this.path = this.back = "";
    this.#connection?.close();
    closeMicrophone(this.microphone);
    this.why = why;
    this.problem = problem;
    this.#move("ended", "");
  }

  /** @param {Explanation} problem one that the call survives */
  #warn(problem) {
    if (this.state === "ended") return;
    this.problem = problem;
    this.onChange(this);
  }

  /** @param {string} detail */
  #note(detail) {
    this.detail = detail;
    this.onChange(this);
  }

  /**
   * @param {CallState} state
   * @param {string} detail
   */
  #move(state, detail) {
    if (!FOLLOWS[state === this.state ? "ended" : this.state].includes(state)) return;
    this.state = state;
    this.detail = detail;
    this.onChange(this);
  }
}
