// SIP.js behind the same few commands.
import { Inviter, Registerer, RegistererState, SessionState, UserAgent } from "sip.js";

const AUDIO = { sessionDescriptionHandlerOptions: { constraints: { audio: true, video: false } } };

class Phone {
  constructor() {
    this.state = "new";
    this.failures = [];
    this.reason = null;
    this.call = null;
  }

  get pc() {
    return this.call.sessionDescriptionHandler.peerConnection;
  }

  get remoteStream() {
    return new MediaStream(this.pc.getReceivers().map((receiver) => receiver.track));
  }

  async start({ socket, uri, password }) {
    const address = UserAgent.makeURI(uri);
    this.agent = new UserAgent({
      uri: address,
      transportOptions: { server: socket },
      authorizationUsername: address.user,
      authorizationPassword: password,
      delegate: { onInvite: (invitation) => this.take(invitation, "ringing") },
      logLevel: "error",
    });
    await this.agent.start();
    this.registerer = new Registerer(this.agent);
    this.registerer.stateChange.addListener((state) => {
      if (state === RegistererState.Registered) this.state = "registered";
      if (state === RegistererState.Unregistered) this.state = "unregistered";
    });
    await this.registerer.register({
      requestDelegate: {
        onReject: (response) => {
          this.failures.push(response.message.statusCode);
          this.state = "refused";
        },
      },
    });
  }

  async stop() {
    if (this.state === "unregistered") return;
    await this.registerer.unregister();
    await this.agent.stop();
  }

  dial(target) {
    const inviter = new Inviter(this.agent, UserAgent.makeURI(target), {
      ...AUDIO,
      earlyMedia: true,
    });
    this.take(inviter, "calling");
    return inviter.invite({
      requestDelegate: {
        onProgress: () => {
          if (this.state === "calling") this.state = "progress";
          this.#play();
        },
        onReject: (response) => this.failures.push(response.message.statusCode),
      },
    });
  }

  take(session, state) {
    this.call = session;
    this.state = state;
    this.reason = null;
    session.delegate = {
      onCancel: (cancel) => (this.reason = cancel.request.getHeader("reason") ?? null),
    };
    session.stateChange.addListener((now) => {
      if (now === SessionState.Established) {
        this.state = "up";
        this.#play();
      }
      if (now === SessionState.Terminated) this.state = "ended";
    });
  }

  answer() {
    return this.call.accept(AUDIO);
  }

  #play() {
    const audio = new Audio();
    audio.srcObject = this.remoteStream;
    audio.muted = true;
    audio.play();
  }

  #reinvite(hold) {
    return new Promise((done, failed) => {
      this.call.sessionDescriptionHandlerOptionsReInvite = { hold };
      this.call.invite({
        requestDelegate: {
          onAccept: () => done(),
          onReject: (response) => failed(new Error(String(response.message.statusCode))),
        },
      });
    });
  }

  hold() {
    return this.#reinvite(true);
  }

  resume() {
    return this.#reinvite(false);
  }

  press(digits) {
    this.call.sessionDescriptionHandler.sendDtmf(digits, { duration: 100, interToneGap: 100 });
  }

  transfer(target) {
    return this.call.refer(UserAgent.makeURI(target));
  }

  hangUp() {
    if (this.state === "up") return this.call.bye();
    return this.state === "ringing" ? this.call.reject() : this.call.cancel();
  }
}

window.newPhone = () => (window.phone = new Phone());
window.newPhone();
