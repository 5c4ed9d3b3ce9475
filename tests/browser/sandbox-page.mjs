// Drives the sandbox page in a real browser, at desktop and phone width.
//
//   node sandbox-page.mjs --url http://127.0.0.1:3900 [--screenshots DIR]
//
// It exits with 1 on the first thing that is not as a person would expect it, and on any console error, uncaught
// exception or violation of the content security policy.

import assert from "node:assert/strict";
import { parseArgs } from "node:util";

import { ALICE, BOB, DESKTOP, NARROWEST, PHONE, Run, finish, fits } from "./browser.mjs";

const { values: options } = parseArgs({ options: { url: { type: "string" }, screenshots: { type: "string" } } });
if (!options.url) {
  console.error("usage: node sandbox-page.mjs --url URL [--screenshots DIR]");
  process.exit(2);
}
const session = new Run(options.url, options.screenshots);
const { base, complaints } = session;
// What this run writes is told apart from what an earlier run left in the same sandbox.
const run = Date.now().toString(36);

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

const api = async (number, what, body) => {
  const answer = await fetch(`${base}/admin/phones/${number}/${what}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  assert.equal(answer.status, 201, await answer.clone().text());
  return (await answer.json()).id;
};
const byMessage = (page, id) => page.locator(`.bubble[data-id="${id}"]`);

async function menu(page, message, entry) {
  await message.hover();
  await message.locator(".more").click();
  await page.locator("#menu").getByRole("button", { name: entry }).click();
}

/** Files, reactions, edits, polls, places, contacts and deletions, as both sides see them. */
async function everyKind(page, other) {
  await other.goto(`${base}/#/${BOB}/chats/${ALICE}`);
  await page.goto(`${base}/#/${ALICE}/chats/${BOB}`);
  const picture = { name: "page.png", mimeType: "image/png", buffer: await page.screenshot({ clip: { x: 0, y: 0, width: 320, height: 200 } }) };
  await page.fill("#composer-text", `look ${run}`);
  await page.setInputFiles("#attach", picture);
  const sent = bubble(other, `look ${run}`);
  await sent.locator("img.image").waitFor();
  await other.waitForFunction((img) => img.naturalWidth === 320, await sent.locator("img.image").elementHandle());
  assert.equal(await page.inputValue("#composer-text"), "");
  await page.setInputFiles("#attach", { name: "plan.pdf", mimeType: "application/pdf", buffer: Buffer.from("%PDF-1.4") });
  await other.locator(".file", { hasText: "plan.pdf" }).last().waitFor();

  await menu(other, sent, "React with 👍");
  await bubble(page, `look ${run}`).locator(".reactions", { hasText: "👍" }).waitFor();
  await menu(page, bubble(page, `look ${run}`), "Edit");
  await page.fill("#composer-text", `see ${run}`);
  await page.press("#composer-text", "Enter");
  await bubble(other, `see ${run}`).locator(".marks", { hasText: "Edited" }).waitFor();

  const poll = await api(ALICE, "send", { to: BOB, poll: { name: "Lunch?", options: ["Soup", "Salad"] } });
  await byMessage(other, poll).getByRole("button", { name: "Soup" }).click();
  await byMessage(page, poll).locator(".option", { hasText: "Soup" }).locator(".votes", { hasText: "1" }).waitFor();
  await byMessage(other, poll).getByRole("button", { name: "Salad" }).click();
  await byMessage(page, poll).locator(".option", { hasText: "Salad" }).locator(".votes", { hasText: "1" }).waitFor();
  await byMessage(page, poll).locator(".option", { hasText: "Soup" }).locator(".votes", { hasText: "0" }).waitFor();

  await api(ALICE, "send", { to: BOB, location: { latitude: 47.48711, longitude: 19.05797, name: "Market Hall", address: "Vámház krt. 1" } });
  await other.locator(".card", { hasText: "Market Hall" }).last().waitFor();
  const vcard = "BEGIN:VCARD\nVERSION:3.0\nFN:Dora\nTEL;type=CELL:+1 202 555 0119\nEND:VCARD";
  await api(ALICE, "send", { to: BOB, contact: { name: "Dora", vcard } });
  await other.locator(".card", { hasText: "+1 202 555 0119" }).last().waitFor();
  const voice = { kind: "voice", data: Buffer.from("OggS").toString("base64"), seconds: 3 };
  await api(BOB, "send", { to: ALICE, media: voice, forwarded: true });
  await page.locator(".bubble audio").last().waitFor();

  const slip = await api(ALICE, "send", { to: BOB, text: `a slip ${run}` });
  await byMessage(other, slip).waitFor();
  await menu(page, byMessage(page, slip), "Delete for everyone");
  await page.locator("#menu").getByRole("button", { name: "Really delete?" }).click();
  await byMessage(other, slip).getByText("This message was deleted").waitFor();
  const isWaiting = async (message) => /waits/.test(await message.getAttribute("class"));
  assert.deepEqual([await isWaiting(byMessage(other, slip)), await isWaiting(byMessage(other, poll))], [true, false]);
  await session.screenshot(page, "desktop-messages");
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

async function linking(page) {
  const phone = async () => (await fetch(`${base}/admin/phones/${ALICE}`)).json();
  await choosePhone(page, ALICE);
  await page.fill("#link-code", "ABCD-2345");
  await page.click("#enter-code button");
  await page.locator("#toasts", { hasText: "no device waits for a code" }).waitFor();
  complaints.splice(0, complaints.length, ...complaints.filter((line) => !line.includes("409")));

  for (const required of [true, false]) {
    const answered = page.waitForResponse((response) => response.url().endsWith("/passkey"));
    await page.setChecked("#passkey", required);
    assert.equal((await answered).status(), 200);
    assert.equal((await phone()).passkey, required);
  }
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
  await session.screenshot(page, "phone-chats");
  await chooseChat(page, BOB);
  await bubble(page, run).waitFor();
  assert.equal(await page.locator("#chat-list").isVisible(), false);
  await fits(page);
  await session.screenshot(page, "phone-conversation");
  await page.click("#back");
  await page.locator("#chat-list").waitFor();
  await page.click("[data-tab=devices]");
  await page.getByText("Link a device").waitFor();
  await fits(page);
  await session.screenshot(page, "phone-devices");
  await page.click("[data-tab=webhooks]");
  await page.locator("#hook-list .about", { hasText: run }).first().waitFor();
  await fits(page);
  await session.screenshot(page, "phone-webhooks");
  await page.goBack();
  await page.getByText("Link a device").waitFor();
}

finish("sandbox page", session, async () => {
  const desktop = await session.open(DESKTOP);
  await desktop.goto(`${base}/`);
  await desktop.getByText("nothing leaves this machine").waitFor();
  await desktop.locator("#health.good, #health.bad").waitFor();
  await addPhone(desktop);
  await converse(desktop);
  const other = await session.open(DESKTOP);
  await everyKind(desktop, other);
  await typing(desktop, other);
  await webhooks(desktop);
  await linking(desktop);
  await fits(desktop);
  await session.screenshot(desktop, "desktop");
  const dark = await session.open(DESKTOP, { colorScheme: "dark" });
  await dark.goto(`${base}/#/${ALICE}/chats/${BOB}`);
  await bubble(dark, run).waitFor();
  await session.screenshot(dark, "desktop-dark");
  await phoneWidth(await session.open(PHONE, { hasTouch: true, isMobile: true }));
  const narrowest = await session.open(NARROWEST, { hasTouch: true, isMobile: true });
  await narrowest.goto(`${base}/#/${ALICE}/chats/${BOB}`);
  await bubble(narrowest, run).waitFor();
  await fits(narrowest);
});
