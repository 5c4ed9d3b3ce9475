// The README's first message as a person does it in a browser: one click links the session, then a conversation with Echo.
//
//   node first-message.mjs --url http://127.0.0.1:3900 --api http://127.0.0.1:3000 --key KEY [--screenshots DIR]
//
// Needs a fresh server beside its own sandbox. Exits with 1 on the first thing that is not as a person would expect it.

import assert from "node:assert/strict";
import { parseArgs } from "node:util";

import { ALICE, DESKTOP, ECHO, PHONE, Run, finish, fits } from "./browser.mjs";

const TEXT = "Hi there!";
const EVENTS = ["message", "message.any", "message.ack", "session.status"];

const text = { type: "string" };
const { values: options } = parseArgs({ options: { url: text, api: text, key: text, screenshots: text } });
if (!options.url || !options.api || !options.key) {
  console.error("usage: node first-message.mjs --url URL --api URL --key KEY [--screenshots DIR]");
  process.exit(2);
}
const run = new Run(options.url, options.screenshots);

async function call(path, body) {
  const answer = await fetch(options.api + path, {
    method: "POST",
    headers: { "content-type": "application/json", "x-api-key": options.key },
    body: JSON.stringify(body),
  });
  assert.equal(answer.status, 201, await answer.text());
}

finish("first message", run, async () => {
  const page = await run.open(DESKTOP);
  await page.goto(run.base);
  await page.click(`[data-phone="${ALICE}"]`);
  const webhooks = [{ url: `${run.base}/hook/me`, events: EVENTS }];
  await call("/api/sessions", { name: "default", config: { metadata: { "user.id": "123" }, webhooks } });
  await page.locator("#waiting button", { hasText: "Scan with Alice" }).click();
  const rows = page.locator("#hook-list > li");
  await rows.filter({ hasText: "WORKING" }).first().waitFor();
  await page.locator("#waiting button").waitFor({ state: "detached" });

  await call("/api/sendText", { session: "default", chatId: `${ECHO}@c.us`, text: TEXT });
  await page.click(`[data-chat="${ECHO}"]`);
  const bubbles = page.locator(".bubble");
  await bubbles.filter({ hasText: TEXT }).locator("[aria-label=Read]").first().waitFor();
  await bubbles.locator("blockquote", { hasText: TEXT }).waitFor();
  for (const name of EVENTS) await rows.filter({ has: page.locator(".badge", { hasText: new RegExp(`^${name}$`) }) }).first().waitFor();
  for (const ack of ["SERVER", "DEVICE", "READ"]) await rows.filter({ hasText: ack }).first().waitFor();
  await page.locator("#health.good").waitFor();
  await fits(page);
  await run.screenshot(page, "sandbox-desktop");

  const phone = await run.open(PHONE, { hasTouch: true, isMobile: true });
  await phone.goto(`${run.base}/#/${ALICE}/chats/${ECHO}`);
  await phone.locator(".bubble blockquote", { hasText: TEXT }).waitFor();
  await fits(phone);
  await run.screenshot(phone, "sandbox-phone");
});
