// Copyright the cmanager authors.
// See LICENSE for details.

// A client on @xmpp/client, over WebSocket.

import { load, play, Player, useWay, WayWebSocket } from "./player.mjs";

const { client, jid: parse, xml } = await load("@xmpp/client");
const NS_ROSTER = "jabber:iq:roster";
const PATIENCE_MS = 60_000;

globalThis.WebSocket = WayWebSocket;

class XMPPjsPlayer extends Player {
  connect({ jid, password, service, mechanism, ...way }) {
    useWay(way);
    const account = parse(jid);
    this.condition = null;
    const entity = (this.client = client({
      service,
      domain: account.domain,
      resource: account.resource,
      timeout: PATIENCE_MS,
      credentials: async (authenticate, offered) => {
        const chosen = mechanism ?? offered[0];
        if (!offered.includes(chosen)) {
          throw new Error(`${chosen} is not among ${offered}`);
        }
        await authenticate({ username: account.local, password }, chosen);
      },
    }));
    entity.reconnect.stop();
    entity.on("online", (bound) => this.tell("online", { jid: bound.toString() }));
    entity.on("stanza", (stanza) => this.received(stanza));
    entity.on("error", (error) => this.failed(error));
    entity.on("disconnect", () => this.tell("closed", { condition: this.condition }));
    // What it fails with is in "error" as well.
    entity.start().catch(() => {});
  }

  failed(error) {
    if (error.name === "SASLError") {
      this.tell("refused", { condition: error.condition });
      this.close();
    } else if (error.name === "StreamError") {
      this.condition = error.condition;
    } else {
      this.broken(error);
    }
  }

  received(stanza) {
    const { from, type } = stanza.attrs;
    if (stanza.is("message") && type !== "error" && stanza.getChild("body")) {
      this.tell("message", { from, body: stanza.getChildText("body") });
    } else if (stanza.is("presence")) {
      this.tell("presence", { from, type: type ?? "available" });
    }
  }

  async fetchRoster() {
    const query = await this.client.iqCaller.get(xml("query", NS_ROSTER), undefined, PATIENCE_MS);
    this.tell("roster", { items: query.getChildren("item").map((item) => item.attrs.jid).sort() });
  }

  async addToRoster({ jid }) {
    const query = xml("query", NS_ROSTER, xml("item", { jid }));
    await this.client.iqCaller.set(query, undefined, PATIENCE_MS);
    this.tell("changed");
  }

  presence({ to, type }) {
    return this.client.send(xml("presence", { to, type }));
  }

  message({ to, body }) {
    return this.client.send(xml("message", { to, type: "chat" }, xml("body", {}, body)));
  }

  async ping({ to }) {
    await this.client.iqCaller.get(xml("ping", "urn:xmpp:ping"), to, PATIENCE_MS);
    this.tell("pong");
  }

  async close() {
    await this.client.stop();
  }
}

play(XMPPjsPlayer);
