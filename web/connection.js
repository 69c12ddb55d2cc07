// @ts-check
// The media path of one call: a peer connection, its offers and answers, and how a lost path is mended.

import { explainRefusal } from "./errors.js";

/**
 * @typedef {import("./errors.js").Explanation} Explanation
 * @typedef {import("./signal.js").Signal} Signal
 * @typedef {"connected" | "lost" | "failed" | "closed"} PathEvent lost: it may come back; failed: it
 *     never was, or will not; closed: the gateway has closed it
 */

/** A restart may come before the browser has seen its new network: then it takes another. */
const RESTART_EVERY_MS = 4_000;
/** The gateway answers within milliseconds; what was not answered by then has been refused, or lost. */
const ANSWER_WITHIN_MS = 10_000;
/** The gateway gives a path up after half a minute, and says so; if it cannot, we do. */
const GIVE_UP_AFTER_MS = 35_000;

export class Connection {
  /** @type {RTCDTMFSender | null} */
  dtmf = null;

  #call;
  #signal;
  #relayOnly;
  #on;
  #isClosed = false;
  #wasConnected = false;
  /** Whether the path is lost, and being mended. */
  #isLost = false;
  #offeredAt = 0;
  /** @type {number | undefined} */
  #mending;
  /** @type {Promise<void>} offers and answers, one after another */
  #negotiation = Promise.resolve();

  /**
   * @param {object} of
   * @param {string} of.call
   * @param {Signal} of.signal
   * @param {boolean} of.relayOnly whether media goes through TURN alone
   * @param {{path: (event: PathEvent) => void, sound: (stream: MediaStream) => void, problem: (problem: Explanation) => void}} of.on
   */
  constructor({ call, signal, relayOnly, on }) {
    this.#call = call;
    this.#signal = signal;
    this.#relayOnly = relayOnly;
    this.#on = on;
    this.pc = new RTCPeerConnection(this.#configuration());
    this.pc.ontrack = ({ streams, track }) => on.sound(streams[0] ?? new MediaStream([track]));
    this.pc.onicecandidate = ({ candidate }) => this.#trickle(candidate);
    this.pc.onconnectionstatechange = () => this.#changed();
  }

  /**
   * The first offer.
   * @param {MediaStream} microphone
   * @returns {Promise<string | null>} null when the call ended meanwhile
   */
  async offer(microphone) {
    for (const track of microphone.getAudioTracks()) this.dtmf = this.pc.addTrack(track, microphone).dtmf;
    await this.pc.setLocalDescription();
    return this.#isClosed ? null : (this.pc.localDescription?.sdp ?? null);
  }

  /**
   * The gateway's answer to an offer of ours; one that comes twice is ignored.
   * @param {string} sdp
   */
  accept(sdp) {
    this.#enqueue(async () => {
      if (this.pc.signalingState !== "have-local-offer") return;
      const isFirst = this.pc.remoteDescription === null;
      await this.pc.setRemoteDescription({ type: "answer", sdp });
      if (isFirst) this.#watchForTheEnd();
    });
  }

  /**
   * The gateway looks for a path anew. While an offer of ours is open, ours counts (and it knows).
   * @param {string} sdp
   */
  acceptOffer(sdp) {
    this.#enqueue(async () => {
      if (this.pc.signalingState !== "stable") return;
      await this.pc.setRemoteDescription({ type: "offer", sdp });
      await this.pc.setLocalDescription();
      const answer = this.pc.localDescription?.sdp;
      if (answer && !this.#isClosed) this.#signal.send({ type: "answer", call: this.#call, sdp: answer });
    });
  }

  /** The network changed: a path that still works is moved before it breaks. */
  networkChanged() {
    if (this.#wasConnected) this.#restart();
  }

  close() {
    this.#isClosed = true;
    clearInterval(this.#mending);
    this.pc.close();
  }

  /** @returns {RTCConfiguration} */
  #configuration() {
    return {
      bundlePolicy: "max-bundle",
      iceServers: this.#signal.iceServers,
      iceTransportPolicy: this.#relayOnly ? "relay" : "all",
    };
  }

  /** @param {() => Promise<void>} step done once all before it is done */
  #enqueue(step) {
    this.#negotiation = this.#negotiation.then(async () => {
      if (this.#isClosed) return;
      try {
        await step();
      } catch (error) {
        if (!this.#isClosed) this.#on.problem(explainRefusal(String(error)));
      }
    });
  }

  /** Look for a path anew (ICE restart), on the network there is now. */
  #restart() {
    this.#enqueue(async () => {
      if (this.pc.signalingState === "have-local-offer" && this.#isOverdue()) {
        await this.pc.setLocalDescription({ type: "rollback" });
      }
      if (this.pc.signalingState !== "stable") return;
      this.pc.setConfiguration(this.#configuration()); // the credentials of before may have run out
      this.pc.restartIce();
      await this.pc.setLocalDescription();
      const sdp = this.pc.localDescription?.sdp;
      this.#offeredAt = performance.now();
      if (sdp && !this.#isClosed) this.#signal.send({ type: "offer", call: this.#call, sdp });
    });
  }

  /** Whether an offer was refused, or its answer will not come: another may take its place. */
  #isOverdue() {
    return this.#wasConnected && performance.now() - this.#offeredAt > ANSWER_WITHIN_MS;
  }

  /** @param {RTCIceCandidate | null} candidate null: there are no more */
  #trickle(candidate) {
    // The empty candidate ends a generation, null the gathering: for us both are the end.
    if (candidate?.candidate === "" || this.#isClosed) return;
    this.#signal.send({
      type: "candidate",
      call: this.#call,
      candidate: candidate?.candidate ?? "",
      ufrag: candidate?.usernameFragment ?? "",
    });
  }

  #watchForTheEnd() {
    const transport = this.pc.getSenders()[0]?.transport;
    transport?.addEventListener("statechange", () => {
      if (transport.state === "closed" && !this.#isClosed) this.#on.path("closed");
    });
  }

  #changed() {
    if (this.#isClosed) return;
    const state = this.pc.connectionState;
    if (state === "connected") this.#restored();
    else if (state === "failed" && !this.#wasConnected) this.#on.path("failed");
    else if (state === "disconnected" || state === "failed") this.#lost();
  }

  #lost() {
    if (this.#isLost) return;
    this.#isLost = true;
    const lostAt = performance.now();
    const mend = () => {
      if (performance.now() - lostAt > GIVE_UP_AFTER_MS) this.#on.path("failed");
      else this.#restart();
    };
    this.#signal.refresh();
    mend();
    this.#mending = setInterval(mend, RESTART_EVERY_MS);
    this.#on.path("lost");
  }

  #restored() {
    this.#isLost = false;
    this.#wasConnected = true;
    clearInterval(this.#mending);
    this.#on.path("connected");
  }
}
