// Copyright the cmanager authors.
// See LICENSE for details.

// As much of the XMLHttpRequest of browsers as Strophe.js needs, which Node has not.

import http from "node:http";
import https from "node:https";

import { options } from "./player.mjs";

const agents = {
  "http:": new http.Agent({ keepAlive: true }),
  "https:": new https.Agent({ keepAlive: true }),
};

export class WayHttpRequest {
  readyState = 0;
  status = 0;
  responseText = "";
  responseXML = null;
  onreadystatechange = () => {};
  #headers = {};
  #answer = null;
  #method = "";
  #request = null;
  #url = null;

  open(method, url) {
    this.#method = method;
    this.#url = new URL(url);
    this.#become(1);
  }

  setRequestHeader(name, value) {
    this.#headers[name] = value;
  }

  getAllResponseHeaders() {
    return Object.entries(this.#answer?.headers ?? {}).map(([name, value]) => `${name}: ${value}\r\n`).join("");
  }

  send(body) {
    const { protocol } = this.#url;
    const { request } = protocol === "https:" ? https : http;
    const data = Buffer.from(body);
    this.#request = request(
      this.#url,
      {
        ...options(),
        method: this.#method,
        agent: agents[protocol],
        headers: { ...options().headers, ...this.#headers, "Content-Length": data.length },
      },
      (answer) => this.#answered(answer),
    );
    this.#request.on("error", () => this.#ended(0));
    this.#request.end(data);
  }

  abort() {
    this.#request?.destroy();
    this.#ended(0);
  }

  #answered(answer) {
    this.#answer = answer;
    const parts = [];
    answer.on("data", (part) => parts.push(part));
    answer.on("error", () => this.#ended(0));
    answer.on("end", () => {
      this.responseText = Buffer.concat(parts).toString();
      if (this.responseText && answer.headers["content-type"]?.includes("xml")) {
        this.responseXML = new DOMParser().parseFromString(this.responseText, "text/xml");
      }
      this.#ended(answer.statusCode);
    });
  }

  #ended(status) {
    if (this.readyState !== 0 && this.readyState !== 4) {
      this.status = status;
      this.#become(4);
    }
  }

  #become(state) {
    this.readyState = state;
    this.onreadystatechange();
  }
}
