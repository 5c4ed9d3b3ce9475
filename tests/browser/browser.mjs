// What the browser tests share: finding a browser, pages that note every fault, screenshots.
//
// A fault is a console error or warning, an uncaught exception, a violation of the content security policy, and a request
// to anywhere but the server under test.

import assert from "node:assert/strict";
import { existsSync, mkdirSync } from "node:fs";
import { delimiter, join } from "node:path";

import { chromium } from "playwright-core";

const BROWSERS = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];
const STEP_TIMEOUT_MS = 10_000;

export const DESKTOP = { width: 1280, height: 800 };
export const PHONE = { width: 390, height: 844 };
export const NARROWEST = { width: 360, height: 640 };

// The fixed numbers of a fresh sandbox.
export const ALICE = "12025550101";
export const BOB = "12025550102";
export const ECHO = "12025550104";

/** The browser is $CHROMIUM, or the first one found on the PATH. */
function findBrowser() {
  const folders = (process.env.PATH ?? "").split(delimiter);
  const found = BROWSERS.flatMap((name) => folders.map((folder) => join(folder, name))).find(existsSync);
  const browser = process.env.CHROMIUM ?? found;
  if (!browser) throw new Error("no browser found: install chromium or set CHROMIUM");
  return browser;
}

/** A run of a browser against one server. */
export class Run {
  constructor(base, screenshots) {
    this.base = base.replace(/\/$/, "");
    this.screenshots = screenshots;
    this.complaints = [];
  }

  /** Does `work` with a browser, and fails on whatever any page complained about. */
  async inBrowser(work) {
    this.browser = await chromium.launch({ executablePath: findBrowser(), args: FLAGS });
    try {
      await work();
      assert.deepEqual(this.complaints, []);
    } finally {
      await this.browser.close();
    }
  }

  /** A page in a context of its own. */
  async open(viewport, settings = {}) {
    const context = await this.browser.newContext({ viewport, locale: "en-GB", ...settings });
    const page = await context.newPage();
    page.setDefaultTimeout(STEP_TIMEOUT_MS);
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) this.complaints.push(`console: ${message.text()}`);
    });
    page.on("pageerror", (error) => this.complaints.push(`exception: ${error.message}`));
    page.on("request", (request) => {
      if (!request.url().startsWith(this.base)) this.complaints.push(`request to ${request.url()}`);
    });
    await page.addInitScript(() => {
      addEventListener("securitypolicyviolation", (event) => console.error(`policy: ${event.violatedDirective}`));
    });
    return page;
  }

  async screenshot(page, name) {
    if (!this.screenshots) return;
    mkdirSync(this.screenshots, { recursive: true });
    await page.screenshot({ path: join(this.screenshots, `${name}.png`) });
  }
}

/** Nothing of the page is outside of the screen. */
export async function fits(page) {
  const excess = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  assert.ok(excess <= 0, `the page is ${excess} px wider than the screen`);
}

/** Runs a test and exits with 1 where it fails. */
export function finish(name, run, test) {
  run.inBrowser(test).then(
    () => console.log(`${name}: ok`),
    (error) => {
      console.error(error);
      for (const complaint of run.complaints) console.error(complaint);
      process.exit(1);
    },
  );
}
