// A telephone in a page. It registers with the gateway over a WebSocket, calls and is called.
import JsSIP from "jssip";

const gateway = new URL(new URLSearchParams(location.search).get("gateway") ?? "ws://localhost:8080");
const by = (id) => document.getElementById(id);
const say = (id, text) => (by(id).value = text);
const microphone = { mediaConstraints: { audio: true, video: false } };

let phone;
let call;

by("login").onsubmit = (event) => {
  event.preventDefault();
  const { user, password } = Object.fromEntries(new FormData(event.target));
  phone?.stop();
  phone = new JsSIP.UA({
    sockets: [new JsSIP.WebSocketInterface(new URL("/v1/sip", gateway).href)],
    uri: `sip:${user}@${gateway.hostname}`,
    password,
  });
  phone.on("registered", () => say("phone", "registered"));
  phone.on("unregistered", () => say("phone", "not registered"));
  phone.on("registrationFailed", ({ cause }) => say("phone", cause));
  phone.on("newRTCSession", ({ session }) => take(session));
  phone.start();
};

by("dial").onsubmit = (event) => {
  event.preventDefault();
  phone?.call(`sip:${new FormData(event.target).get("to")}@${gateway.hostname}`, microphone);
};
by("answer").onclick = () => call?.answer(microphone);
by("hold").onclick = () => {
  if (call?.isOnHold().local) call.unhold({}, () => say("call", "goes on"));
  else call?.hold({}, () => say("call", "on hold"));
};
by("hang-up").onclick = () => call?.terminate();

function take(session) {
  if (call && !call.isEnded()) {
    session.terminate({ status_code: 486 }); // one at a time
    return;
  }
  call = session;
  const other = session.remote_identity.uri.user;
  say("call", session.direction === "incoming" ? `${other} rings` : `calling ${other}`);
  session.on("confirmed", () => say("call", `with ${other}`));
  session.on("ended", ({ cause }) => say("call", cause));
  session.on("failed", ({ cause }) => say("call", cause));
  const listen = (connection) =>
    (connection.ontrack = ({ track }) => (by("voice").srcObject = new MediaStream([track])));
  if (session.connection) listen(session.connection);
  else session.on("peerconnection", ({ peerconnection }) => listen(peerconnection));
}
