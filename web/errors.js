// @ts-check
// What went wrong or came to an end, in plain words, and what to do about it.

/**
 * @typedef {import("./signal.js").Ended} Ended
 */

/**
 * @typedef {object} Explanation
 * @property {string} title what happened
 * @property {string} remedy what to do now
 * @property {string} [detail] the other side's own words
 */

/**
 * @typedef {object} Ending
 * @property {string} why follows "Ended: "
 * @property {Explanation | null} problem null where there is nothing to mend
 */

/** @satisfies {Record<string, Explanation>} */
export const PROBLEMS = {
  insecureOrigin: {
    title: "This page cannot use the microphone here",
    remedy:
      "Browsers give the microphone only to pages on HTTPS or on localhost. Open this page with "
      + "https://, or as http://localhost on the gateway's own machine.",
  },
  microphoneRefused: {
    title: "The microphone was refused",
    remedy:
      "Allow the microphone for this page (the icon beside the address), then call again.",
  },
  microphoneMissing: {
    title: "No microphone was found",
    remedy: "Plug one in or switch it on in the system's sound settings, then call again.",
  },
  microphoneTaken: {
    title: "The microphone cannot be opened",
    remedy: "Another program may be using it. Close that program, then call again.",
  },
  microphoneLost: {
    title: "Your microphone went away",
    remedy: "The other side no longer hears you. Plug it in again, hang up and call once more.",
  },
  playbackBlocked: {
    title: "The browser holds the sound back",
    remedy: "Allow sound for this page (the icon beside the address), then call again.",
  },
  gatewayLost: {
    title: "The gateway cannot be reached",
    remedy: "The page tries again by itself. Check that the gateway runs, and your network.",
  },
  gatewayLostInCall: {
    title: "The connection to the gateway was lost",
    remedy:
      "The page tries again by itself. You can go on talking for as long as you hear each other.",
  },
  gatewaySilent: {
    title: "The gateway did not answer",
    remedy: "Call again. If it stays like this, the gateway's log says why.",
  },
  pathLost: {
    title: "The audio path broke",
    remedy: "Check your network, then call again. A firewall may block UDP to the gateway.",
  },
  callNotResumed: {
    title: "The call has ended",
    remedy: "The page was away for too long, or the gateway was restarted. Call again.",
  },
  noDestination: {
    title: "Nobody to call yet",
    remedy: "Enter a number such as +15550100, or pick one from the list.",
  },
  alreadyInCall: {
    title: "One call at a time",
    remedy: "Hang up first, then call again.",
  },
};

/**
 * @param {string} text what was entered
 * @returns {Explanation}
 */
export function explainBadNumber(text) {
  return {
    title: `“${text}” cannot be dialled`,
    remedy: "Write a number such as +15550100, an address such as agent:echo, or pick one from the list.",
  };
}

/**
 * @param {string} text the gateway's refusal
 * @returns {Explanation}
 */
export function explainRefusal(text) {
  return {
    title: "The gateway refused",
    remedy: "Try again; if it stays like this, the gateway's log says why.",
    detail: text,
  };
}

/**
 * Why getUserMedia failed.
 * @param {unknown} error
 * @returns {Explanation}
 */
export function explainMicrophone(error) {
  const name = error instanceof DOMException ? error.name : "";
  if (name === "NotAllowedError" || name === "SecurityError") return PROBLEMS.microphoneRefused;
  if (name === "NotFoundError" || name === "OverconstrainedError") return PROBLEMS.microphoneMissing;
  return PROBLEMS.microphoneTaken;
}

/** @typedef {[why: string, title: string | null, remedy: string]} Words title null: needs no more words */

/** @type {Words} */
const REJECTED = ["rejected", "The call was rejected", "The carrier's reason is below. Check the number, or ask the carrier."];

/**
 * The gateway's reasons (`EndReason`).
 * @type {Record<string, Words>}
 */
const REASONS = {
  "cancelled": ["not answered", null, ""],
  "busy": ["busy", "The line is busy", "Try again in a few minutes."],
  "declined": ["declined", "The call was declined", "They do not want to take it now. Try again later."],
  "no-answer": ["no answer", "Nobody answered", "Try again later."],
  "unavailable": ["not available", "They cannot be reached now", "Their phone may be off. Try again later."],
  "not-found": ["no route", "No route to this number", "Check the number. If it is right, the gateway needs a route for it."],
  "forbidden": ["not allowed", "This call is not allowed", "The gateway or the carrier forbids this number. Ask whoever runs it."],
  "no-common-codec": ["no common codec", "No common audio codec", "The far end speaks none of the gateway's codecs. Allow PCMU or PCMA on its trunk."],
  "rejected": REJECTED,
  "unreachable": ["carrier unreachable", "The carrier could not put the call through", "Try again in a minute. If it stays, check the trunk."],
  "overloaded": ["gateway full", "The gateway is at its limit", "Try again in a minute."],
  "no-ack": ["connection lost", "The far end lost the call", "Call again."],
  "media-timeout": ["no audio", "No audio came from the far end", "Call again. If it stays, a firewall may block the carrier's audio."],
  "hold-timeout": ["no sound of the far end", "The call was on hold, and nothing was heard of the far end", "Call again."],
  "early-media-timeout": ["not answered", "Nobody answered, and no audio came", "Try again later."],
  "path-lost": ["audio lost", "The audio path broke", "Check your network, then call again."],
  "ice-consent": ["audio lost", "The audio path was lost and did not come back", "Check your network, then call again."],
  "left": ["left", null, ""],
  "answered-elsewhere": ["answered elsewhere", null, ""],
  "transferred": ["transferred", null, ""],
  "time-limit": ["time is up", "The call has lasted as long as it may", "Call again. Whoever runs the gateway sets how long calls of a route last."],
  "session-expired": ["connection lost", "The far end no longer answered", "Call again."],
  "agent-failed": ["agent failed", "The agent broke down", "Call again. If it stays, the gateway's log names the agent's error."],
  "agent_lost": ["agent lost", "The agent could not be reached any more", "Call again. If it stays, see whether the agent runs, and what the gateway's log says of it."],
  "shutdown": ["gateway stopped", "The gateway is shutting down", "Call again when it is back."],
  "gateway-error": ["gateway error", "The gateway made a mistake", "Call again. If it stays, the gateway's log says why."],
};

/**
 * How the gateway says a call ended.
 * @param {Ended} ended
 * @param {boolean} answered a status tells why a call was not answered; later it says nothing
 * @returns {Ending}
 */
export function explainEnd(ended, answered) {
  // Our own hang-up is not told to us: the call is over for us when we say it.
  if (ended.reason === "hangup") return { why: "they hung up", problem: null };
  const words = [answered ? "" : ended.status || "", ended.text ?? ""].join(" ").trim();
  const [why, title, remedy] = REASONS[ended.reason] ?? REJECTED;
  if (title === null) return { why, problem: null };
  return { why, problem: { title, remedy, ...(words && { detail: words }) } };
}
