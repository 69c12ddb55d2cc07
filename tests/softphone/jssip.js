// JsSIP behind the few commands that the tests give; `window.phone` as record_page wants it.
import JsSIP from "jssip";

const AUDIO = { mediaConstraints: { audio: true, video: false } };

class Phone {
  constructor() {
    this.state = "new";
    this.held = { local: false, remote: false };
    this.failures = [];
    this.reason = null;
    this.call = null;
    this.pc = null;
  }

  // Not the stream of the track event: what a held phone does not hear is taken out of that.
  get remoteStream() {
    return new MediaStream(this.pc.getReceivers().map((receiver) => receiver.track));
  }

  start({ socket, uri, password, register = true }) {
    const sockets = [new JsSIP.WebSocketInterface(socket)];
    this.agent = new JsSIP.UA({ sockets, uri, password, register });
    if (!register) this.agent.on("connected", () => (this.state = "connected"));
    this.agent.on("registered", () => (this.state = "registered"));
    this.agent.on("unregistered", () => (this.state = "unregistered"));
    this.agent.on("registrationFailed", (event) => {
      this.failures.push(event.cause);
      this.state = "refused";
    });
    this.agent.on("newRTCSession", ({ session }) => this.take(session));
    this.agent.start();
  }

  stop() {
    this.agent.stop();
  }

  dial(target) {
    this.agent.call(target, AUDIO);
  }

  take(session) {
    this.call = session;
    this.reason = null;
    this.state = session.direction === "incoming" ? "ringing" : "calling";
    const watch = (pc) => {
      this.pc = pc;
      pc.addEventListener("track", () => {
        const audio = new Audio();
        audio.srcObject = this.remoteStream;
        audio.muted = true;
        audio.play();
      });
    };
    if (session.connection) watch(session.connection);
    session.on("peerconnection", ({ peerconnection }) => watch(peerconnection));
    session.on("progress", () => this.state === "calling" && (this.state = "progress"));
    session.on("confirmed", () => (this.state = "up"));
    session.on("hold", ({ originator }) => (this.held[originator] = true));
    session.on("unhold", ({ originator }) => (this.held[originator] = false));
    for (const name of ["ended", "failed"]) {
      session.on(name, ({ message, cause }) => {
        this.failures.push(message?.status_code ?? cause);
        this.reason = message?.getHeader("reason") ?? null;
        this.state = "ended";
      });
    }
  }

  answer() {
    this.call.answer(AUDIO);
  }

  hold() {
    return new Promise((done) => this.call.hold({}, done));
  }

  resume() {
    return new Promise((done) => this.call.unhold({}, done));
  }

  press(digits) {
    this.call.sendDTMF(digits, { transportType: "RFC2833" });
  }

  pressByInfo(digits) {
    this.call.sendDTMF(digits, { transportType: "INFO" });
  }

  transfer(target) {
    this.call.refer(target);
  }

  hangUp() {
    this.call.terminate();
  }
}

window.newPhone = () => (window.phone = new Phone());
window.newPhone();
