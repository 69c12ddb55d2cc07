// @ts-check
// Level meters: how loud a stream is, in dBFS, drawn as a bar.

/** What the bar shows as empty; quieter is silence to people. */
const FLOOR_DB = -60;
/** The number for screen readers follows more slowly than the bar: the loudest since the last one. */
const TELL_EVERY_MS = 500;

export class Meter {
  /** @type {AnalyserNode | null} */
  #analyser = null;
  /** @type {MediaStreamAudioSourceNode | null} */
  #source = null;
  #samples = new Float32Array(1024);
  #toldAt = 0;
  #peak = FLOOR_DB;
  #frame = 0;

  /** @param {HTMLElement} element a role=meter with a `.meter-bar` inside */
  constructor(element) {
    this.element = element;
    this.bar = /** @type {HTMLElement} */ (element.querySelector(".meter-bar"));
    this.#show(FLOOR_DB, 0);
  }

  get stream() {
    return this.#source?.mediaStream ?? null;
  }

  /**
   * Measure this stream from now on.
   * @param {AudioContext} context
   * @param {MediaStream} stream
   */
  attach(context, stream) {
    this.detach();
    this.#source = new MediaStreamAudioSourceNode(context, { mediaStream: stream });
    this.#analyser = new AnalyserNode(context, { fftSize: this.#samples.length });
    this.#source.connect(this.#analyser);
    this.#frame = requestAnimationFrame((now) => this.#measure(now));
  }

  detach() {
    cancelAnimationFrame(this.#frame);
    this.#source?.disconnect();
    this.#source = null;
    this.#analyser = null;
    this.#peak = FLOOR_DB;
    this.#show(FLOOR_DB, 0);
  }

  /** @param {number} now */
  #measure(now) {
    if (this.#analyser === null) return;
    this.#analyser.getFloatTimeDomainData(this.#samples);
    let sum = 0;
    for (const sample of this.#samples) sum += sample * sample;
    this.#show(10 * Math.log10(sum / this.#samples.length + 1e-12), now);
    this.#frame = requestAnimationFrame((later) => this.#measure(later));
  }

  /**
   * @param {number} level_db
   * @param {number} now
   */
  #show(level_db, now) {
    const level = Math.min(0, Math.max(FLOOR_DB, level_db));
    this.bar.style.setProperty("--level", (1 - level / FLOOR_DB).toFixed(3));
    this.#peak = Math.max(this.#peak, level);
    if (now !== 0 && now - this.#toldAt < TELL_EVERY_MS) return;
    const told = this.#peak.toFixed(0);
    this.element.setAttribute("aria-valuenow", told);
    this.element.setAttribute("aria-valuetext", this.#peak <= FLOOR_DB ? "silent" : `${told} dB`);
    this.#toldAt = now;
    this.#peak = FLOOR_DB;
  }
}
