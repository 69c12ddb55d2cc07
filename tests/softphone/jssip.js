// JsSIP behind the few commands that the tests give; `window.phone` as record_page wants it.
import JsSIP from "jssip";

class Phone {
  constructor() {
    this.state = "new";
    this.held = { local: false, remote: false };
    this.failures = [];
    this.call = null;
    this.pc = null;
    this.remoteStream = null;
  }

  start({ socket, uri, password }) {
    const options = { sockets: [new JsSIP.WebSocketInterface(socket)], uri, password, register: true };
    this.agent = new JsSIP.UA({ ...options, session_timers: false });
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
    this.agent.call(target, { mediaConstraints: { audio: true, video: false } });
  }

  take(session) {
    this.call = session;
    this.state = session.direction === "incoming" ? "ringing" : "calling";
    const watch = (pc) => {
      this.pc = pc;
      pc.addEventListener("track", (event) => {
        this.remoteStream = event.streams[0] ?? new MediaStream([event.track]);
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
      session.on(name, (event) => {
        this.failures.push(event.cause);
        this.state = "ended";
      });
    }
  }

  answer() {
    this.call.answer({ mediaConstraints: { audio: true, video: false } });
  }

  hold() {
    return new Promise((done) => this.call.hold({}, done));
  }

  resume() {
    return new Promise((done) => this.call.unhold({}, done));
  }

  press(digit) {
    this.call.sendDTMF(digit, { transportType: "RFC2833" });
  }

  hangUp() {
    this.call.terminate();
  }
}

window.phone = new Phone();
