// SIP.js behind the same few commands.
import { Inviter, Registerer, RegistererState, SessionState, UserAgent } from "sip.js";

class Phone {
  constructor() {
    this.state = "new";
    this.failures = [];
    this.call = null;
  }

  get pc() {
    return this.call.sessionDescriptionHandler.peerConnection;
  }

  get remoteStream() {
    return this.call.sessionDescriptionHandler.remoteMediaStream;
  }

  async start({ socket, uri, password }) {
    const address = UserAgent.makeURI(uri);
    this.agent = new UserAgent({
      uri: address,
      transportOptions: { server: socket },
      authorizationUsername: address.user,
      authorizationPassword: password,
      delegate: { onInvite: (invitation) => this.take(invitation, "ringing") },
      logLevel: "warn",
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
    await this.registerer.unregister();
    await this.agent.stop();
  }

  dial(target) {
    const inviter = new Inviter(this.agent, UserAgent.makeURI(target), {
      sessionDescriptionHandlerOptions: { constraints: { audio: true, video: false } },
    });
    this.take(inviter, "calling");
    return inviter.invite({
      requestDelegate: {
        onReject: (response) => this.failures.push(response.message.statusCode),
      },
    });
  }

  take(session, state) {
    this.call = session;
    this.state = state;
    session.stateChange.addListener((now) => {
      if (now === SessionState.Established) {
        this.state = "up";
        const audio = new Audio();
        audio.srcObject = this.remoteStream;
        audio.muted = true;
        audio.play();
      }
      if (now === SessionState.Terminated) this.state = "ended";
    });
  }

  answer() {
    return this.call.accept({
      sessionDescriptionHandlerOptions: { constraints: { audio: true, video: false } },
    });
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

  hangUp() {
    return this.state === "up" ? this.call.bye() : this.call.cancel();
  }
}

window.phone = new Phone();
