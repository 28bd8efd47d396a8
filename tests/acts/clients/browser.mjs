// Copyright the cmanager authors.
// See LICENSE for details.

// A browser with windows that know nothing of each other, each a role, in which the chat
// page of the demonstration is used as people use it.  Spoken to as the clients are.

import { load, play, Player } from "./player.mjs";

const { chromium } = (await load("playwright-core")).default;
const PATIENCE_MS = 60_000;
const ARGUMENTS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

let browser = null;

class Window extends Player {
  #last = Promise.resolve();

  // As a person does, one thing after the other.
  obey(order) {
    this.#last = this.#last.then(() => super.obey(order));
  }

  // Open a window on a page.
  async open({ program, url, width, height, isPhone, colorScheme, mayComplain }) {
    browser ??= chromium.launch({ executablePath: program, args: ARGUMENTS });
    const context = await (await browser).newContext({
      viewport: { width, height },
      deviceScaleFactor: 2,
      isMobile: isPhone,
      hasTouch: isPhone,
      colorScheme,
    });
    context.setDefaultTimeout(PATIENCE_MS);
    const page = (this.page = await context.newPage());
    // A file that is missing or not permitted is among what the console complains of.
    page.on("console", (said) => said.type() === "error" && !mayComplain && this.broken(said.text()));
    page.on("pageerror", (error) => this.broken(error));
    await page.goto(url);
    this.tell("opened", { title: await page.title() });
  }

  async fill({ jid, password, transport }) {
    const { page } = this;
    await page.getByLabel("Address").fill(jid);
    await page.getByLabel("Password").fill(password);
    await page.getByText(transport, { exact: true }).click();
    await page.getByRole("button", { name: "Log in", exact: true }).click();
  }

  async login(how) {
    await this.fill(how);
    await this.page.locator("#state", { hasText: "online" }).waitFor();
    this.tell("online", { state: await this.page.locator("#state").textContent() });
  }

  async write({ text }) {
    await this.page.getByLabel("Message").fill(text);
    await this.page.keyboard.press("Enter");
  }

  // Report when an element is there that holds some text.
  async look({ selector, text = "" }) {
    await this.page.locator(selector, { hasText: text }).first().waitFor();
    this.tell("seen", { selector, text });
  }

  // Report the texts of all such elements.
  async read({ selector }) {
    this.tell("read", { selector, texts: await this.page.locator(selector).allInnerTexts() });
  }

  async tap({ label }) {
    await this.page.getByRole("button", { name: label }).click();
  }

  async screenshot({ path }) {
    await this.page.screenshot({ path });
    this.tell("pictured");
  }

  // Report how much wider the page is than its window.
  async measure() {
    const overflow = await this.page.evaluate(
      () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
    );
    this.tell("measured", { overflow });
  }
}

// The browser ends with this.
play(Window);
