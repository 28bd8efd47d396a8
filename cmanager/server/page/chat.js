// Copyright the cmanager authors.
// See LICENSE for details.

// One conversation at a time with the contacts of one account.  Where the server is, the
// page learns as any web client does: from /.well-known/host-meta.json (XEP-0156).

import { Strophe, $iq, $msg, $pres } from "./strophe.js";

const DEMO = ["Romeo", "Juliet"];
const NAMES = { websocket: "WebSocket", bosh: "BOSH" };
const RELATIONS = { websocket: "urn:xmpp:alt-connections:websocket", bosh: "urn:xmpp:alt-connections:xbosh" };
const NS_STATES = "http://jabber.org/protocol/chatstates";
const RETRY_MS = [1000, 2000, 5000, 10000];
const TYPING_MS = 5000;

const $ = (selector) => document.querySelector(selector);
const form = $("#login form");
const writing = $("#writing");
const contacts = new Map(); // bare JID -> {name, resources: Set, unread, messages: [], button}
let connection = null;
let credentials = null; // while somebody is, or wants to be, logged in
let current = null; // the contact of the open conversation, a key of contacts
let problem = "";
let attempts = 0;
let retry = 0;
let writingSince = 0;
let typing = 0;

for (const name of DEMO) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "chip";
  button.textContent = name;
  button.addEventListener("click", () => {
    form.jid.value = `${name.toLowerCase()}@${location.hostname}`;
    form.password.value = name.toLowerCase();
    form.requestSubmit();
  });
  $("#accounts").append(button);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  credentials = {
    jid: form.jid.value.trim(),
    password: form.password.value,
    transport: form.transport.value,
  };
  attempts = 0;
  connect();
});

$("#leave").addEventListener("click", () => leave(""));

writing.addEventListener("submit", (event) => {
  event.preventDefault();
  const body = writing.body.value;
  if (!body.trim() || current === null || !isOnline()) {
    return;
  }
  const id = connection.getUniqueId();
  connection.send(
    $msg({ to: current, type: "chat", id }).c("body").t(body).up().c("active", { xmlns: NS_STATES }),
  );
  add(current, { id, body, isMine: true, at: new Date() });
  writing.reset();
  writingSince = 0;
});

writing.body.addEventListener("input", () => {
  const now = Date.now();
  if (current !== null && isOnline() && now - writingSince > TYPING_MS) {
    writingSince = now;
    connection.send($msg({ to: current, type: "chat" }).c("composing", { xmlns: NS_STATES }));
  }
});

const isOnline = () => connection !== null && connection.authenticated;

async function addressOf(transport) {
  const answer = await fetch("/.well-known/host-meta.json");
  const { links } = await answer.json();
  const found = links.filter((link) => link.rel === RELATIONS[transport]).map((link) => link.href);
  if (!found.length) {
    throw new Error(`This server offers no ${NAMES[transport]}.`);
  }
  return found.find((href) => new URL(href).host === location.host) ?? found[0];
}

async function connect() {
  const wanted = credentials;
  clearTimeout(retry);
  problem = "";
  tell("");
  state("connecting …");
  form.querySelector("[type=submit]").disabled = true;
  let address;
  try {
    address = await addressOf(wanted.transport);
  } catch (error) {
    problem = error.message;
  }
  if (wanted !== credentials) {
    return;
  }
  if (problem) {
    offline();
    return;
  }
  const attempted = (connection = new Strophe.Connection(address));
  attempted.connect(wanted.jid, wanted.password, (status, condition) => {
    if (attempted === connection) {
      changed(status, condition);
    }
  });
}

function changed(status, condition) {
  switch (status) {
    case Strophe.Status.CONNECTED:
      online();
      break;
    case Strophe.Status.AUTHFAIL:
      leave("The address or the password is wrong.");
      break;
    case Strophe.Status.ERROR:
    case Strophe.Status.CONNFAIL:
      problem = `No connection${condition ? `: ${condition}` : ""}.`;
      break;
    case Strophe.Status.DISCONNECTED:
      offline();
      break;
  }
}

function offline() {
  connection = null;
  form.querySelector("[type=submit]").disabled = false;
  writing.querySelector("button").disabled = true;
  if ($("#chat").hidden) {
    credentials = null;
    tell(problem || "The connection was lost.");
    return;
  }
  for (const contact of contacts.values()) {
    contact.resources.clear();
    show(contact);
  }
  const wait = RETRY_MS[Math.min(attempts++, RETRY_MS.length - 1)];
  state(`offline, again in ${wait / 1000} s`);
  retry = setTimeout(connect, wait);
}

function online() {
  attempts = 0;
  form.querySelector("[type=submit]").disabled = false;
  writing.querySelector("button").disabled = false;
  $("#login").hidden = true;
  $("#chat").hidden = false;
  $("#me").textContent = Strophe.getBareJidFromJid(connection.jid);
  state(`online by ${NAMES[credentials.transport]}`);
  connection.addHandler(message, null, "message");
  connection.addHandler(presence, null, "presence");
  connection.sendIQ($iq({ type: "get" }).c("query", { xmlns: Strophe.NS.ROSTER }), (answer) => {
    for (const item of answer.getElementsByTagName("item")) {
      const contact = known(item.getAttribute("jid"));
      contact.name = item.getAttribute("name") || contact.name;
      show(contact);
    }
    if (current === null && contacts.size) {
      open([...contacts.keys()][0]);
    }
    connection.send($pres());
  });
  writing.body.focus();
}

function leave(why) {
  const left = connection;
  connection = credentials = current = null;
  clearTimeout(retry);
  left?.disconnect();
  form.querySelector("[type=submit]").disabled = false;
  $("#chat").hidden = true;
  $("#login").hidden = false;
  contacts.clear();
  $("#contacts").replaceChildren();
  $("#messages").replaceChildren();
  tell(why);
}

const childOf = (stanza, name) => [...stanza.children].find((child) => child.localName === name);

function message(stanza) {
  const from = Strophe.getBareJidFromJid(stanza.getAttribute("from") ?? "");
  if (stanza.getAttribute("type") === "error") {
    const id = stanza.getAttribute("id");
    const sent = contacts.get(from)?.messages.find((entry) => entry.isMine && entry.id === id);
    if (sent) {
      sent.hasFailed = true;
      draw();
    }
    return true;
  }
  const body = childOf(stanza, "body");
  if (from === current) {
    types(childOf(stanza, "composing") ? `${known(from).name} is writing …` : "");
  }
  if (body) {
    const delay = childOf(stanza, "delay");
    const at = delay ? new Date(delay.getAttribute("stamp")) : new Date();
    add(from, { body: body.textContent, isMine: false, at });
  }
  return true;
}

function presence(stanza) {
  const from = stanza.getAttribute("from") ?? "";
  const contact = contacts.get(Strophe.getBareJidFromJid(from));
  const type = stanza.getAttribute("type");
  if (contact && (type === null || type === "unavailable")) {
    contact.resources[type === null ? "add" : "delete"](from);
    show(contact);
  }
  return true;
}

function known(jid) {
  if (!contacts.has(jid)) {
    const button = document.createElement("button");
    button.type = "button";
    button.addEventListener("click", () => open(jid));
    $("#contacts").append(button);
    contacts.set(jid, {
      jid, name: Strophe.getNodeFromJid(jid) ?? jid, resources: new Set(), unread: 0, messages: [], button,
    });
  }
  return contacts.get(jid);
}

function add(jid, entry) {
  const contact = known(jid);
  contact.messages.push(entry);
  if (current === null) {
    open(jid);
  } else if (current === jid) {
    draw();
  } else {
    contact.unread += 1;
    show(contact);
  }
}

function open(jid) {
  const before = current;
  current = jid;
  contacts.get(jid).unread = 0;
  types("");
  for (const contact of [before, jid]) {
    if (contact !== null) {
      show(contacts.get(contact));
    }
  }
  draw();
}

function show({ jid, name, resources, unread, button }) {
  button.textContent = name;
  button.classList.toggle("online", resources.size > 0);
  button.title = `${jid}, ${resources.size ? "online" : "offline"}`;
  button.setAttribute("aria-current", String(jid === current));
  if (unread) {
    const count = document.createElement("span");
    count.className = "unread";
    count.textContent = unread;
    button.append(count);
  }
}

function draw() {
  const list = $("#messages");
  list.replaceChildren(
    ...contacts.get(current).messages.map(({ body, isMine, hasFailed, at }) => {
      const item = document.createElement("li");
      item.textContent = body;
      item.classList.toggle("mine", isMine);
      item.classList.toggle("failed", Boolean(hasFailed));
      const time = document.createElement("time");
      time.dateTime = at.toISOString();
      time.textContent = `${at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })}${hasFailed ? ", not delivered" : ""}`;
      item.append(time);
      return item;
    }),
  );
  list.scrollTop = list.scrollHeight;
}

function types(text) {
  clearTimeout(typing);
  $("#typing").textContent = text;
  if (text) {
    typing = setTimeout(types, 2 * TYPING_MS, "");
  }
}

function tell(text) {
  $("#login .problem").textContent = text;
}

function state(text) {
  $("#state").textContent = text;
}
