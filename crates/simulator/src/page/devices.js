// Linked devices of the chosen phone, and linking: one click for waiting sessions of this server, a code that is typed or pasted,
// and whether the account's passkey is asked for.

import { phonePath, post } from "/api.js";
import { loadHealth, nameOf, phone, state } from "/store.js";
import { act, byId, confirmTwice, el, sync, text, when } from "/dom.js";

export function startDevices() {
  startCodes();
  byId("paste").addEventListener("submit", (event) => {
    event.preventDefault();
    const field = byId("paste-code");
    act(event.submitter ?? event.target.querySelector("button"), async () => {
      await post(phonePath(state.number, "scan"), { qr: field.value.trim() });
      field.value = "";
      field.closest("details").open = false;
    });
  });
}

function startCodes() {
  byId("enter-code").addEventListener("submit", (event) => {
    event.preventDefault();
    const field = byId("link-code");
    act(event.submitter ?? event.target.querySelector("button"), async () => {
      await post(phonePath(state.number, "enter-code"), { code: field.value.trim() });
      field.value = "";
    });
  });
  byId("passkey").addEventListener("change", ({ target }) =>
    act(target, () => post(phonePath(state.number, "passkey"), { required: target.checked })));
}

export function drawDevices() {
  const owner = phone();
  const place = byId("device-list");
  const rows = owner?.devices.map((device) => ({ ...device, number: owner.number })) ?? [];
  sync(place, rows, (device) => device.jid, createDevice, updateDevice);
  byId("devices-empty").hidden = !owner || rows.length > 0;
  byId("scan").hidden = !owner;
  text(byId("devices-title"), owner ? `${owner.name}'s linked devices` : "Linked devices");
  drawScan(owner);
}

function createDevice(device) {
  const unlink = el("button", { type: "button", class: "soft" }, "Unlink");
  confirmTwice(unlink, "Really?", () => post(phonePath(device.number, "unlink"), { device: device.device }));
  const words = el("span", { class: "words" },
    el("span", { class: "name" }),
    el("span", { class: "sub" }), el("code", {}, device.jid));
  return el("li", {}, el("span", { class: "dot", role: "img" }), words, unlink);
}

function updateDevice(row, device) {
  const dot = row.querySelector(".dot");
  dot.classList.toggle("good", device.connected);
  dot.setAttribute("aria-label", device.connected ? "connected" : "not connected");
  text(row.querySelector(".name"), device.platform || "Device");
  const queued = device.queued > 0 ? ` · ${device.queued} waiting` : "";
  const connection = device.connected ? "Connected" : "Offline";
  text(row.querySelector(".sub"), `${connection} · linked ${when(device.linked_at * 1000)}${queued}`);
}

function drawScan(owner) {
  sync(byId("scan-sessions"), owner ? state.sessions : [], (name) => `${owner.number}/${name}`, (name) => scanButton(name));
  const hint = byId("scan-empty");
  hint.hidden = state.sessions.length > 0;
  text(byId("link-code-label"), owner?.wants_code
    ? `${owner.wants_code} wants to be linked: the code that it shows`
    : "Code that the device shows");
  byId("passkey").checked = owner?.passkey ?? false;
  const compared = byId("compared-code");
  compared.hidden = !owner?.compared_code;
  text(compared, owner?.compared_code ? `Is this the code on the other device? ${owner.compared_code}` : "");
  text(hint, state.attached
    ? "No session waits for a phone. Create a session, then scan here."
    : "This sandbox runs on its own: paste the text of a QR code.");
}

/** A button that links the chosen phone to a waiting session. */
function scanButton(name) {
  return el("button", { type: "button", class: "primary wide", onclick: (event) => act(event.currentTarget, () => scan(name)) },
    `Scan ${name}`);
}

async function scan(session) {
  await post(phonePath(state.number, "scan"), { session });
  await loadHealth();
}

/** A line above everything for each waiting session: what a newcomer has to do next. */
export function drawWaiting() {
  const owner = phone();
  const waiting = owner ? state.sessions.map((name) => ({ name, number: owner.number })) : [];
  sync(byId("waiting"), waiting, (one) => `${one.number}/${one.name}`, ({ name, number }) =>
    el("li", { class: "banner" },
      el("span", {}, "Session ", el("strong", {}, name), " waits for a phone."),
      el("button", { type: "button", class: "primary", onclick: (event) => act(event.currentTarget, () => scan(name)) },
        `Scan with ${nameOf(number)}`)));
}
