// The lists to choose from: phones, and the chosen phone's chats and contacts.

import { summary } from "/message.js";
import { addressOf, changed, conversation, nameOf, phone, state } from "/store.js";
import { avatar, byId, el, readable, sync, text, when } from "/dom.js";

const PHONES_SHOWN_MAX = 100;
const PHONES_WITHOUT_SEARCH = 12;

/** The phone that was last scrolled into view. */
let inView = null;

export function startLists() {
  byId("chat-filter").addEventListener("input", changed);
  byId("phone-filter").addEventListener("input", changed);
}

export function drawPhones() {
  const filter = byId("phone-filter").value.trim().toLowerCase();
  byId("phone-search").hidden = state.phones.length <= PHONES_WITHOUT_SEARCH;
  const found = state.phones.filter((owner) => matches(filter, owner.name, owner.number));
  sync(byId("phone-list"), found.slice(0, PHONES_SHOWN_MAX), (owner) => owner.number, createPhone, updatePhone);
  if (state.number !== inView) {
    inView = state.number;
    document.querySelector("#phone-list [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
}

function createPhone(owner) {
  const name = el("span", { class: "name" }, owner.name);
  const link = el("a", { "data-phone": owner.number }, avatar(owner.name, owner.number),
    el("span", { class: "words" }, name, el("span", { class: "sub" })), el("span", { class: "count" }));
  return el("li", {}, link);
}

function updatePhone(row, owner) {
  const link = row.firstChild;
  link.href = addressOf(owner.number, state.view);
  if (owner.number === state.number) link.setAttribute("aria-current", "true");
  else link.removeAttribute("aria-current");
  text(link.querySelector(".name"), owner.name);
  text(link.querySelector(".sub"), readable(owner.number));
  const connected = owner.devices.some((device) => device.connected);
  link.querySelector(".avatar").classList.toggle("linked", connected);
  link.title = connected ? "A linked device is connected" : "";
  unread(link.querySelector(".count"), owner.chats.reduce((sum, chat) => sum + chat.unread, 0));
}

function unread(badge, count) {
  badge.hidden = count === 0;
  text(badge, count > 99 ? "99+" : String(count));
  badge.setAttribute("aria-label", `${count} unread`);
}

export function drawChats() {
  const owner = phone();
  const typed = byId("chat-filter").value.trim();
  const filter = typed.toLowerCase();
  const inList = new Set(owner?.chats.map((chat) => chat.chat));
  const chats = owner?.chats.filter((chat) => matches(filter, chat.name, chat.chat)) ?? [];
  const contacts = owner?.contacts.filter((one) => !inList.has(one.number) && matches(filter, one.name, one.number)) ?? [];

  sync(byId("chat-list"), chats, (chat) => `${owner.number}/${chat.chat}`, (chat) => row(chat.chat, nameOf(chat.chat)), updateChat);
  const others = contacts.map((contact) => ({ id: contact.number, name: contact.name, note: readable(contact.number) }));
  const digits = typed.replace(/[\s+().-]/g, "");
  const isNumber = /^\d{5,15}$/.test(digits) && digits !== owner?.number;
  if (isNumber && !inList.has(digits) && !others.some((other) => other.id === digits)) {
    others.push({ id: digits, name: readable(digits), note: "Write to this number" });
  }
  byId("contacts-title").hidden = others.length === 0;
  sync(byId("contact-list"), others, (other) => `${owner.number}/${other.id}`, (other) => row(other.id, other.name), updateContact);

  const nothing = byId("chats-empty");
  nothing.hidden = chats.length + others.length > 0;
  if (!owner) text(nothing, state.loaded ? "No phones yet. Add one to begin." : "Loading…");
  else text(nothing, typed ? "Nobody found. Type a whole number to write to it." : "No chats yet. Type a number above to begin one.");
}

function row(id, name) {
  const words = el("span", { class: "words" }, el("span", { class: "name" }), el("span", { class: "sub" }));
  const meta = el("span", { class: "meta" }, el("time"), el("span", { class: "count", hidden: true }));
  return el("li", {}, el("a", { "data-chat": id }, avatar(name, id), words, meta));
}

function updateChat(item, chat) {
  const link = update(item, chat.chat, nameOf(chat.chat));
  const last = conversation(chat.chat).messages.at(-1);
  const typing = typingText(chat.typing);
  const preview = last ? `${last.fromMe ? "You: " : ""}${summary(last)}` : readable(chat.chat);
  const sub = link.querySelector(".sub");
  text(sub, typing ?? preview);
  sub.classList.toggle("typing", typing !== null);
  text(link.querySelector("time"), last ? when(last.at) : "");
  unread(link.querySelector(".count"), chat.unread);
}

function updateContact(item, contact) {
  text(update(item, contact.id, contact.name).querySelector(".sub"), contact.note);
}

function update(item, id, name) {
  const link = item.firstChild;
  link.href = addressOf(state.number, "chats", id);
  if (id === state.chat) link.setAttribute("aria-current", "true");
  else link.removeAttribute("aria-current");
  text(link.querySelector(".name"), name);
  return link;
}

/** What the other party does, in words; null if nothing. */
export function typingText(typing) {
  if (typing === "composing") return "typing…";
  return typing === "recording" ? "recording audio…" : null;
}

function matches(filter, name, number) {
  return name.toLowerCase().includes(filter) || (filter !== "" && number.includes(filter.replace(/[\s+]/g, "") || filter));
}
