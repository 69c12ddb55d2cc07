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

export class QualityTable {
  /** @param {HTMLElement} table its cells are named `data-of="<column> <row>"` */
  constructor(table) {
    this.table = table;
  }

  clear() {
    for (const column of ["you", "browser", "peer"]) this.show(column, {});
    this.showCodecs({ browser: "", peer: "" });
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
