// @ts-check
// Tones the page makes itself: ringback while the far end rings, and a ring for incoming calls.

/**
 * @typedef {object} Cadence
 * @property {readonly number[]} frequencies Hz, sounded together
 * @property {number} on_s
 * @property {number} off_s
 */

/** North American ringback (ITU-T E.180 supplement 2), as the lab's +1 numbers would have it. */
export const RINGBACK = Object.freeze({ frequencies: [440, 480], on_s: 2, off_s: 4 });
/** Two notes, easily told from ringback. */
export const RING = Object.freeze({ frequencies: [660, 880], on_s: 0.8, off_s: 1.6 });

const LEVEL = 0.05;
/** Long enough not to click. */
const RAMP_S = 0.02;

export class Tone {
  /** @type {AudioContext | null} */
  #context = null;
  /** @type {number | undefined} */
  #repeat;

  get sounds() {
    return this.#context !== null;
  }

  /** @param {Cadence} cadence */
  start(cadence) {
    if (this.#context !== null) return;
    const context = new AudioContext();
    this.#context = context;
    const gain = new GainNode(context, { gain: 0 });
    gain.connect(context.destination);
    for (const frequency of cadence.frequencies) {
      const oscillator = new OscillatorNode(context, { frequency });
      oscillator.connect(gain);
      oscillator.start();
    }
    const burst = () => {
      const now = context.currentTime;
      gain.gain.setTargetAtTime(LEVEL, now, RAMP_S);
      gain.gain.setTargetAtTime(0, now + cadence.on_s, RAMP_S);
    };
    burst();
    this.#repeat = setInterval(burst, (cadence.on_s + cadence.off_s) * 1000);
  }

  stop() {
    clearInterval(this.#repeat);
    void this.#context?.close();
    this.#context = null;
  }
}
