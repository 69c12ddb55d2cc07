// @ts-check
// What a call sounds like here: the far end in the loudspeaker, both sides on their meters, and the
// ringback where the far end gives none.

import { findElement } from "./element.js";
import { Meter } from "./meter.js";
import { RINGBACK, Tone } from "./tone.js";

/** @typedef {import("./call.js").Call} Call */

export class Sound {
  /** @type {AudioContext | null} */
  #context = null;
  #ringback = new Tone();
  #player = findElement("player", HTMLAudioElement);
  #meterYou = new Meter(findElement("meter-you", HTMLElement));
  #meterFar = new Meter(findElement("meter-far", HTMLElement));

  /** A call begins; asked for while a click still counts as the person's consent to sound. */
  begin() {
    this.#context = new AudioContext();
  }

  /**
   * Let it sound as the call is now.
   * @param {Call} call
   * @param {() => void} onBlocked the browser lets nothing be heard
   */
  follow(call, onBlocked) {
    const { microphone, remoteStream } = call;
    if (this.#context !== null && microphone !== null && this.#meterYou.stream !== microphone) {
      this.#meterYou.attach(this.#context, microphone);
    }
    if (this.#context !== null && remoteStream !== null && this.#meterFar.stream !== remoteStream) {
      this.#meterFar.attach(this.#context, remoteStream);
      this.#player.srcObject = remoteStream;
      this.#player.play().catch(onBlocked);
    }
    if (call.state === "ringing") this.#ringback.start(RINGBACK);
    else this.#ringback.stop();
  }

  end() {
    this.#ringback.stop();
    this.#meterYou.detach();
    this.#meterFar.detach();
    this.#player.srcObject = null;
    void this.#context?.close();
    this.#context = null;
  }
}
