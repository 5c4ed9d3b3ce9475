// Drives the sandbox page in a real browser, at desktop and phone width.
//
//   node sandbox-page.mjs --url http://127.0.0.1:3900 [--screenshots DIR]
//
// It exits with 1 on the first thing that is not as a person would expect it, and on any console error, uncaught
// exception or violation of the content security policy. The browser is $CHROMIUM, or the first one found on the PATH.

import assert from "node:assert/strict";
import { existsSync, mkdirSync } from "node:fs";
import { delimiter, join } from "node:path";
import { parseArgs } from "node:util";

import { chromium } from "playwright-core";

const BROWSERS = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];
const STEP_TIMEOUT_MS = 10_000;
const DESKTOP = { width: 1280, height: 800 };
const PHONE = { width: 390, height: 844 };
const NARROWEST = { width: 360, height: 640 };
// The fixed numbers of a fresh sandbox.
const ALICE = "12025550101";
const BOB = "12025550102";

const { values: options } = parseArgs({ options: { url: { type: "string" }, screenshots: { type: "string" } } });
if (!options.url) {
  console.error("usage: node sandbox-page.mjs --url URL [--screenshots DIR]");
  process.exit(2);
}
const base = options.url.replace(/\/$/, "");
// What this run writes is told apart from what an earlier run left in the same sandbox.
const run = Date.now().toString(36);
const complaints = [];

function findBrowser() {
  const folders = (process.env.PATH ?? "").split(delimiter);
  const found = BROWSERS.flatMap((name) => folders.map((folder) => join(folder, name))).find(existsSync);
  const browser = process.env.CHROMIUM ?? found;
  if (!browser) throw new Error("no browser found: install chromium or set CHROMIUM");
  return browser;
}

async function open(browser, viewport, settings = {}) {
  const context = await browser.newContext({ viewport, locale: "en-GB", ...settings });
  const page = await context.newPage();
  page.setDefaultTimeout(STEP_TIMEOUT_MS);
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => complaints.push(`exception: ${error.message}`));
  page.on("request", (request) => {
    if (!request.url().startsWith(base)) complaints.push(`request to ${request.url()}`);
  });
  await page.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) => console.error(`policy: ${event.violatedDirective}`));
  });
  return page;
}

async function screenshot(page, name) {
  if (!options.screenshots) return;
  mkdirSync(options.screenshots, { recursive: true });
  await page.screenshot({ path: join(options.screenshots, `${name}.png`) });
}

async function fits(page) {
  const excess = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  assert.ok(excess <= 0, `the page is ${excess} px wider than the screen`);
}

const choosePhone = (page, number) => page.click(`[data-phone="${number}"]`);
const chooseChat = (page, number) => page.click(`[data-chat="${number}"]`);
// By its own text: a reply contains the text that it quotes.
const bubble = (page, text) =>
  page.locator(".bubble").filter({ has: page.locator(".body > .text", { hasText: text }) }).last();

async function addPhone(page) {
  const name = `Dora ${run}`;
  await page.click("#add-phone");
  await page.fill("#add-name", name);
  await page.click("#add-form button[type=submit]");
  await page.locator(`#phone-list a[aria-current]`, { hasText: name }).waitFor();
  await page.getByText(`This is ${name}'s phone`).waitFor();

  await page.click("#add-phone");
  await page.fill("#add-number", ALICE);
  await page.click("#add-form button[type=submit]");
  await page.locator("#add-error:not(:empty)").waitFor();
  await page.click("#add-cancel");
  // The refusal just asked for is not a fault of the page.
  complaints.splice(0, complaints.length, ...complaints.filter((line) => !line.includes("409")));
}

async function converse(page) {
  // Hostile on purpose: it must stay a text.
  const text = `ahoy <img src=x onerror=alert(1)> ${run}`;
  await choosePhone(page, ALICE);
  await chooseChat(page, BOB);
  await page.fill("#composer-text", text);
  await page.press("#composer-text", "Enter");
  await bubble(page, text).locator("[aria-label=Delivered], [aria-label=Read]").waitFor();
  assert.equal(await page.inputValue("#composer-text"), "");

  await choosePhone(page, BOB);
  await chooseChat(page, ALICE);
  const arrived = bubble(page, text);
  await arrived.waitFor();
  assert.equal(await arrived.locator(".text").textContent(), text);
  await page.click("#mark-read");
  await page.locator("#mark-read").waitFor({ state: "hidden" });

  const answer = `aye ${run}`;
  await arrived.hover();
  await arrived.locator(".reply").click();
  await page.locator("#quote", { hasText: "ahoy" }).waitFor();
  await page.fill("#composer-text", answer);
  await page.click("#composer .send");
  await bubble(page, answer).locator("blockquote", { hasText: text }).waitFor();

  await choosePhone(page, ALICE);
  await chooseChat(page, BOB);
  await bubble(page, text).locator("[aria-label=Read]").waitFor();
  await bubble(page, answer).locator("blockquote strong", { hasText: "You" }).waitFor();
}

async function typing(page, other) {
  await other.goto(`${base}/#/${BOB}/chats/${ALICE}`);
  await page.goto(`${base}/#/${ALICE}/chats/${BOB}`);
  await other.locator("#composer-text").pressSequentially("hm");
  await page.locator("#conversation-state", { hasText: "typing" }).waitFor();
  await page.locator(".dots").waitFor();
  await other.fill("#composer-text", "");
  await page.locator(".dots").waitFor({ state: "detached" });
}

async function webhooks(page) {
  const event = { id: `evt_${run}`, event: "message", session: "default", payload: { body: `hooked ${run}` } };
  const hook = `browser-${run}`;
  const answer = await fetch(`${base}/hook/${hook}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(event),
  });
  assert.equal(answer.status, 200);
  const row = page.locator("#hook-list > li").first();
  await row.locator(".about", { hasText: `hooked ${run}` }).waitFor();
  assert.equal(await row.locator(".badge").textContent(), "message");
  await row.locator("summary").first().click();
  assert.deepEqual(JSON.parse(await row.locator("pre").textContent()), event);
  await row.locator(".headers summary").click();
  await row.locator("dd", { hasText: "application/json" }).first().waitFor();
}

async function phoneWidth(page) {
  await page.goto(`${base}/`);
  await choosePhone(page, ALICE);
  await fits(page);
  await screenshot(page, "phone-chats");
  await chooseChat(page, BOB);
  await bubble(page, run).waitFor();
  assert.equal(await page.locator("#chat-list").isVisible(), false);
  await fits(page);
  await screenshot(page, "phone-conversation");
  await page.click("#back");
  await page.locator("#chat-list").waitFor();
  await page.click("[data-tab=devices]");
  await page.getByText("Scan a QR code").waitFor();
  await fits(page);
  await screenshot(page, "phone-devices");
  await page.click("[data-tab=webhooks]");
  await page.locator("#hook-list .about", { hasText: run }).first().waitFor();
  await fits(page);
  await screenshot(page, "phone-webhooks");
  await page.goBack();
  await page.getByText("Scan a QR code").waitFor();
}

async function main() {
  const browser = await chromium.launch({ executablePath: findBrowser(), args: FLAGS });
  try {
    const desktop = await open(browser, DESKTOP);
    await desktop.goto(`${base}/`);
    await desktop.getByText("nothing leaves this machine").waitFor();
    await desktop.locator("#health.good, #health.bad").waitFor();
    await addPhone(desktop);
    await converse(desktop);
    await typing(desktop, await open(browser, DESKTOP));
    await webhooks(desktop);
    await fits(desktop);
    await screenshot(desktop, "desktop");
    const dark = await open(browser, DESKTOP, { colorScheme: "dark" });
    await dark.goto(`${base}/#/${ALICE}/chats/${BOB}`);
    await bubble(dark, run).waitFor();
    await screenshot(dark, "desktop-dark");
    await phoneWidth(await open(browser, PHONE, { hasTouch: true, isMobile: true }));
    const narrowest = await open(browser, NARROWEST, { hasTouch: true, isMobile: true });
    await narrowest.goto(`${base}/#/${ALICE}/chats/${BOB}`);
    await bubble(narrowest, run).waitFor();
    await fits(narrowest);
    assert.deepEqual(complaints, []);
  } finally {
    await browser.close();
  }
}

main().then(
  () => console.log("sandbox page: ok"),
  (error) => {
    console.error(error);
    for (const complaint of complaints) console.error(complaint);
    process.exit(1);
  },
);
