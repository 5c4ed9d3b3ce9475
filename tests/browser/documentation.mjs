// Drives the API's documentation page in a real browser: it asks for name and password, shows the operations, and sends a
// request with the key.
//
//   node documentation.mjs --url http://127.0.0.1:3000 --key KEY --username NAME --password PASSWORD --title TITLE
//
// Exits with 1 on the first thing that is not as a person would expect it.

import assert from "node:assert/strict";
import { parseArgs } from "node:util";

import { DESKTOP, Run, finish } from "./browser.mjs";

const text = { type: "string" };
const names = ["url", "key", "username", "password", "title"];
const { values: options } = parseArgs({ options: Object.fromEntries(names.map((name) => [name, text])) });
if (names.some((name) => !options[name])) {
  console.error(`usage: node documentation.mjs ${names.map((name) => `--${name} ${name.toUpperCase()}`).join(" ")}`);
  process.exit(2);
}
const { url, key, username, password, title } = options;
const run = new Run(url);

finish("documentation", run, async () => {
  const page = await run.open(DESKTOP, { httpCredentials: { username, password } });
  await page.goto(url);
  assert.equal(await page.title(), title);
  await page.locator(".info .title", { hasText: title }).waitFor();

  await page.click(".auth-wrapper .authorize");
  await page.fill(".auth-container input", key);
  await page.click(".auth-btn-wrapper .authorize");
  await page.click(".auth-btn-wrapper .btn-done");

  const operation = page.locator(".opblock-get", { has: page.locator('[data-path="/api/sessions"]') });
  await operation.locator(".opblock-summary-control").click();
  await operation.locator(".try-out__btn").click();
  await operation.locator(".execute").click();
  const status = operation.locator(".live-responses-table .response-col_status");
  await status.filter({ hasText: "200" }).waitFor();
});
