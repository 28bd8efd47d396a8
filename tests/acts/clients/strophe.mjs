// Copyright the cmanager authors.
// See LICENSE for details.

// A client on Strophe.js, over WebSocket or BOSH as the URL says.

import { load, play, Player, useWay, WayWebSocket } from "./player.mjs";
import { WayHttpRequest } from "./request.mjs";

const { $iq, $msg, $pres, Strophe } = await load("strophe.js");
const NS_PING = "urn:xmpp:ping";
const PATIENCE_MS = 60_000;
const { Status } = Strophe;

globalThis.WebSocket = WayWebSocket;
globalThis.XMLHttpRequest = WayHttpRequest;
Strophe.setLogLevel(Strophe.LogLevel.FATAL);

const mechanisms = new Map(
  [Strophe.SASLPlain, Strophe.SASLSHA1, Strophe.SASLSHA256].map((Type) => [new Type().mechname, Type]),
);

const children = (element) => Array.from(element.childNodes).filter((node) => node.nodeType === 1);

class StrophePlayer extends Player {
  connect({ jid, password, service, mechanism, ...way }) {
    useWay(way);
    this.condition = null;
    this.connection?.reset();
    const connection = (this.connection = new Strophe.Connection(service, {
      mechanisms: mechanism === null ? undefined : [mechanisms.get(mechanism)],
    }));
    // Strophe says only that there was an error, where it came by BOSH.
    connection.xmlInput = (element) => this.seen(element);
    connection.connect(
      jid, password, (...status) => this.changed(...status), undefined, undefined, undefined, undefined, PATIENCE_MS,
    );
  }

  seen(element) {
    for (const error of Array.from(element.getElementsByTagNameNS?.(Strophe.NS.STREAM, "error") ?? [])) {
      this.condition = children(error)[0].localName;
    }
  }

  changed(status, condition, element) {
    switch (status) {
      case Status.CONNECTED:
        this.connection.addHandler((stanza) => this.messageReceived(stanza), null, "message");
        this.connection.addHandler((stanza) => this.presenceReceived(stanza), null, "presence");
        this.tell("online", { jid: this.connection.jid });
        break;
      case Status.AUTHFAIL:
        this.tell("refused", { condition: element ? children(element)[0].localName : null });
        this.connection.disconnect();
        break;
      case Status.ERROR:
      case Status.CONNFAIL:
        this.condition ??= condition;
        break;
      case Status.CONNTIMEOUT:
        this.broken(new Error("time-out"));
        break;
      case Status.DISCONNECTED:
        this.tell("closed", { condition: this.condition });
        break;
    }
  }

  messageReceived(stanza) {
    const body = children(stanza).find((child) => child.localName === "body");
    if (body && stanza.getAttribute("type") !== "error") {
      this.tell("message", { from: stanza.getAttribute("from"), body: body.textContent });
    }
    return true;
  }

  presenceReceived(stanza) {
    this.tell("presence", {
      from: stanza.getAttribute("from"),
      type: stanza.getAttribute("type") || "available",
    });
    return true;
  }

  request(stanza) {
    return new Promise((resolve, reject) => {
      this.connection.sendIQ(stanza, resolve, (error) => reject(Strophe.serialize(error)));
    });
  }

  async fetchRoster() {
    const answer = await this.request($iq({ type: "get" }).c("query", { xmlns: Strophe.NS.ROSTER }));
    const items = Array.from(answer.getElementsByTagName("item"), (item) => item.getAttribute("jid"));
    this.tell("roster", { items: items.sort() });
  }

  async addToRoster({ jid }) {
    await this.request($iq({ type: "set" }).c("query", { xmlns: Strophe.NS.ROSTER }).c("item", { jid }));
    this.tell("changed");
  }

  presence({ to, type }) {
    this.connection.send($pres({ ...(to && { to }), ...(type && { type }) }));
  }

  message({ to, body }) {
    this.connection.send($msg({ to, type: "chat" }).c("body").t(body));
  }

  async ping({ to }) {
    await this.request($iq({ type: "get", to }).c("ping", { xmlns: NS_PING }));
    this.tell("pong");
  }

  close() {
    this.connection.disconnect();
  }
}

play(StrophePlayer);
