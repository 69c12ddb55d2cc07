// @ts-check
// One call: its states, its peer connection and the messages about it.

import { PROBLEMS, explainEnd, explainMicrophone, explainRefusal } from "./errors.js";
import { closeMicrophone, openMicrophone } from "./microphone.js";

/**
 * @typedef {import("./errors.js").Explanation} Explanation
 * @typedef {import("./errors.js").Ending} Ending
 * @typedef {import("./signal.js").FromGateway} FromGateway
 * @typedef {import("./signal.js").Held} Held
 * @typedef {import("./signal.js").Signal} Signal
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
  /** @type {RTCPeerConnection | null} */
  pc = null;
  /** @type {MediaStream | null} */
  microphone = null;
  /** @type {MediaStream | null} */
  remoteStream = null;
  muted = false;
  /** @type {Pick<Held, "who" | "by"> | null} who is on hold, and by whom; null: nobody */
  hold = null;

  /** @type {number | undefined} */
  #patience;
  /** @type {RTCDTMFSender | null} */
  #dtmf = null;
  /** Whether the gateway knows of this call from us. */
  #offered = false;

  /**
   * @param {object} of
   * @param {string} of.id unique among this page's calls
   * @param {string} of.party whom we call, or who calls us
   * @param {"out" | "in"} of.direction
   * @param {Signal} of.signal
   * @param {(call: Call) => void} of.onChange after every change worth showing
   */
  constructor({ id, party, direction, signal, onChange }) {
    this.id = id;
    this.party = party;
    this.direction = direction;
    this.signal = signal;
    this.onChange = onChange;
  }

  /**
   * Ask for the microphone, then send the offer; ICE candidates follow it.
   * @param {{processing: boolean}} options
   */
  async start({ processing }) {
    this.#note("Waiting for your microphone…");
    try {
      this.microphone = await openMicrophone(processing);
    } catch (error) {
      this.#fail("no microphone", explainMicrophone(error));
      return;
    }
    if (this.state === "ended") {
      // Hung up while the browser was still asking.
      closeMicrophone(this.microphone);
      return;
    }
    this.mute(this.muted);
    this.#note("Reaching the gateway…");
    const sdp = await this.#offer(this.microphone);
    if (sdp === null) return;
    this.#offered = this.signal.send(
      this.direction === "out"
        ? { type: "call", call: this.id, to: this.party, sdp, options: {} }
        : { type: "accept", call: this.id, sdp },
    );
    if (!this.#offered) {
      this.#fail("gateway lost", PROBLEMS.gatewayLost);
      return;
    }
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
        void this.#accept(message.id, message.sdp);
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

  /** @param {boolean} muted */
  mute(muted) {
    this.muted = muted;
    for (const track of this.microphone?.getAudioTracks() ?? []) track.enabled = !muted;
    this.onChange(this);
  }

  /**
   * Press a key: as RTP telephone-events, or as a message where they were not agreed upon.
   * @param {string} digit one of 0–9 * #
   * @returns {boolean} whether it was pressed: before the offer nobody is there to hear it
   */
  press(digit) {
    if (!this.#offered) return false;
    if (this.#dtmf?.canInsertDTMF) {
      this.#dtmf.insertDTMF(this.#dtmf.toneBuffer + digit, DIGIT_MS, DIGIT_GAP_MS);
    } else {
      this.signal.send({ type: "digit", call: this.id, digit, duration_ms: DIGIT_MS });
    }
    return true;
  }

  /**
   * @param {MediaStream} microphone
   * @returns {Promise<string | null>} the offer; null when the call ended meanwhile
   */
  async #offer(microphone) {
    const pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    this.pc = pc;
    for (const track of microphone.getAudioTracks()) {
      this.#dtmf = pc.addTrack(track, microphone).dtmf;
      track.onended = () => this.#warn(PROBLEMS.microphoneLost);
    }
    pc.ontrack = ({ streams, track }) => {
      this.remoteStream = streams[0] ?? new MediaStream([track]);
      this.onChange(this);
    };
    pc.onicecandidate = ({ candidate }) => this.#trickle(candidate);
    pc.onconnectionstatechange = () => this.#pathChanged(pc);
    await pc.setLocalDescription();
    return this.#over() ? null : (pc.localDescription?.sdp ?? null);
  }

  /** @param {RTCIceCandidate | null} candidate null: there are no more */
  #trickle(candidate) {
    // The empty candidate ends a generation, null the gathering: for us both are the end.
    if (candidate?.candidate === "" || this.state === "ended") return;
    this.signal.send({
      type: "candidate",
      call: this.id,
      candidate: candidate?.candidate ?? "",
      ufrag: candidate?.usernameFragment ?? "",
    });
  }

  /**
   * @param {string} gatewayId
   * @param {string} sdp
   */
  async #accept(gatewayId, sdp) {
    clearTimeout(this.#patience);
    const pc = this.pc;
    if (pc === null || this.state === "ended") return;
    this.gatewayId = gatewayId;
    // Told before the wait: `progress` may arrive during it, and knows better.
    this.#note("Waiting for the far end…");
    try {
      await pc.setRemoteDescription({ type: "answer", sdp });
    } catch (error) {
      if (!this.#over()) this.#fail("refused", explainRefusal(String(error)));
      return;
    }
    const transport = pc.getSenders()[0]?.transport;
    transport?.addEventListener("statechange", () => {
      if (transport.state === "closed") this.#pathClosed();
    });
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

  /** @param {RTCPeerConnection} pc */
  #pathChanged(pc) {
    if (this.state === "ended") return;
    if (pc.connectionState === "failed") this.#fail("audio lost", PROBLEMS.pathLost);
    else if (pc.connectionState === "disconnected") this.#warn(PROBLEMS.pathDisturbed);
    else if (pc.connectionState === "connected" && this.problem === PROBLEMS.pathDisturbed) {
      this.problem = null;
      this.onChange(this);
    }
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
    this.pc?.close();
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

  /** Asked after an await, where the type checker would take the state for unchanged. */
  #over() {
    return this.state === "ended";
  }
}
