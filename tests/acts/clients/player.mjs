// Copyright the cmanager authors.
// See LICENSE for details.

// What the client programs in JavaScript have in common.  They are told and they report
// what those in Python are told and report, see player.py, but for the way to the server:
// an order to connect holds `service`, a URL whose host is found at the address `host`,
// and perhaps the address to come from, `source`, and further `headers`.

import { webcrypto } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const require = createRequire(import.meta.url);

// Import a package of NODE_PATH, which an import statement does not look at.
export const load = (name) => import(pathToFileURL(require.resolve(name)));

const { default: WebSocket } = await load("ws");

// Node has it by itself from 20 on.
globalThis.crypto ??= webcrypto;

let way = {};

// How to open a connection, as "node:http" and "node:https" want it.
export const options = () => way;

export function useWay({ host, authority, source, headers }) {
  const found = [{ address: host, family: 4 }];
  way = {
    ca: readFileSync(authority),
    localAddress: source,
    headers,
    lookup: (_, { all }, done) => (all ? done(null, found) : done(null, host, 4)),
  };
}

// What browsers have, and Node only from 22 on.
export class WayWebSocket extends WebSocket {
  constructor(url, protocols) {
    super(url, protocols, way);
  }
}

export class Player {
  constructor(role) {
    this.role = role;
  }

  burst({ to, count, size = 0, first = 0 }) {
    for (let number = first; number < first + count; number += 1) {
      this.message({ to, body: String(number).padEnd(size) });
    }
  }

  tell(event, fields = {}) {
    const role = this.role ? { as: this.role } : {};
    process.stdout.write(`${JSON.stringify({ event, ...role, ...fields })}\n`);
  }

  broken(error) {
    this.tell("broken", { text: String(error?.stack ?? error) });
  }

  async obey({ order, ...rest }) {
    try {
      await this[order](rest);
    } catch (error) {
      this.broken(error);
    }
  }
}

// Play until standard input ends.
export function play(PlayerType) {
  const players = new Map();
  createInterface({ input: process.stdin })
    .on("line", (line) => {
      const { as = "", ...order } = JSON.parse(line);
      if (!players.has(as)) {
        players.set(as, new PlayerType(as));
      }
      players.get(as).obey(order);
    })
    .on("close", () => process.exit());
}
