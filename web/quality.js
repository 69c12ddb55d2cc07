// @ts-check
// How well the call runs: what this browser measures, and what the gateway measures of both legs.

/**
 * @typedef {import("./signal.js").LegQuality} LegQuality
 * @typedef {LegQuality} Measured
 */

/**
 * The browser's own figures, from getStats.
 * @param {RTCPeerConnection} pc
 * @returns {Promise<Measured>}
 */
export async function measure(pc) {
  /** @type {Measured} */
  const measured = {};
  const report = await pc.getStats();
  for (const stats of report.values()) {
    if (stats.type === "inbound-rtp" && stats.kind === "audio") {
      const sent = stats.packetsReceived + stats.packetsLost;
      measured.loss_percent = sent > 0 ? (100 * Math.max(0, stats.packetsLost)) / sent : null;
      measured.jitter_ms = stats.jitter === undefined ? null : stats.jitter * 1000;
      const mimeType = report.get(stats.codecId)?.mimeType;
      if (mimeType) measured.codec = mimeType.replace("audio/", "");
    } else if (stats.type === "transport") {
      const rtt_s = report.get(stats.selectedCandidatePairId)?.currentRoundTripTime;
      measured.rtt_ms = rtt_s === undefined ? null : rtt_s * 1000;
    }
  }
  return measured;
}

const GOOD_MOS = 4.0;
const FAIR_MOS = 3.6;
// ITU-T G.107 annex B: above them users are satisfied, or some are not; below, many are not.

/** What is said of one-way audio: nobody can tell by listening which way it is. */
const ONE_WAY = {
  browser: { received: "Nothing of your voice reaches the gateway", sent: "Nothing reaches your browser" },
  peer: { received: "Nothing comes from the far end", sent: "The far end hears nothing" },
};

/**
 * The figures of both legs in words.
 * @param {{browser?: LegQuality, peer?: LegQuality}} legs
 * @returns {{text: string, mos: number | null, level: "" | "good" | "fair" | "poor"}} no text where
 *     nothing was measured
 */
export function inWords(legs) {
  /** @type {number[]} */
  const opinions = [];
  /** @type {string[]} */
  const warnings = [];
  for (const name of /** @type {const} */ (["browser", "peer"])) {
    const { mos, alerts } = legs[name] ?? {};
    if (typeof mos === "number") opinions.push(mos);
    for (const { alert, direction } of alerts ?? []) {
      if (alert === "one-way-audio") warnings.push(ONE_WAY[name][direction]);
    }
  }
  if (warnings.length) return { text: warnings.join(". "), mos: null, level: "poor" };
  if (!opinions.length) return { text: "", mos: null, level: "" };
  const mos = Math.min(...opinions);
  const level = mos >= GOOD_MOS ? "good" : mos >= FAIR_MOS ? "fair" : "poor";
  return { text: `Sounds ${level}`, mos, level };
}

export class QualityTable {
  /**
   * @param {HTMLElement} table its cells are named `data-of="<column> <row>"`
   * @param {HTMLElement} verdict says it in words: a status, and a figure beside it
   */
  constructor(table, verdict) {
    this.table = table;
    this.verdict = verdict;
    this.words = /** @type {HTMLElement} */ (verdict.querySelector("[role=status]"));
    this.figure = /** @type {HTMLElement} */ (verdict.querySelector("small"));
  }

  clear() {
    for (const column of ["you", "browser", "peer"]) this.show(column, {});
    this.showCodecs({ browser: "", peer: "" });
    this.showInWords({});
  }

  /** @param {{browser?: LegQuality, peer?: LegQuality}} legs */
  showInWords(legs) {
    const { text, mos, level } = inWords(legs);
    // A status is read aloud when it changes, so the words are left alone while they do not, and
    // the figure, which always does, is no part of it.
    if (this.words.textContent !== text) this.words.textContent = text;
    this.figure.textContent = mos === null ? "" : `MOS ${mos.toFixed(1)}`;
    this.verdict.dataset.level = level;
  }

  /**
   * @param {string} column "you", or the leg that the gateway measured
   * @param {LegQuality} quality
   */
  show(column, { rtt_ms, jitter_ms, loss_percent }) {
    this.#write(`${column} rtt`, rtt_ms, "ms");
    this.#write(`${column} jitter`, jitter_ms, "ms");
    this.#write(`${column} loss`, loss_percent, "%");
  }

  /** @param {{browser: string, peer: string}} codec */
  showCodecs({ browser, peer }) {
    this.#cell("browser codec").textContent = browser || "–";
    this.#cell("peer codec").textContent = peer || "–";
  }

  /**
   * @param {string} of
   * @param {number | null | undefined} value
   * @param {string} unit
   */
  #write(of, value, unit) {
    const known = typeof value === "number" && Number.isFinite(value);
    this.#cell(of).textContent = known ? `${value.toFixed(value < 10 ? 1 : 0)} ${unit}` : "–";
  }

  /** @param {string} of */
  #cell(of) {
    return /** @type {HTMLElement} */ (this.table.querySelector(`[data-of="${of}"]`));
  }
}
