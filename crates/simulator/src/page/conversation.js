// The open chat: bubbles with ticks and quotes, the message field, read receipts, and typing while the person types.

import { phonePath, post } from "/api.js";
import { typingText } from "/chats.js";
import { addressOf, chatOf, conversation, nameOf, phone, state } from "/store.js";
import { act, avatar, byId, clock, dayOf, el, icon, readable, sameDay, sync, text, toast } from "/dom.js";

const TYPING_REPEAT_MS = 8000;
const TYPING_IDLE_MS = 3000;
const FIELD_HEIGHT_MAX_PX = 160;
const NEAR_END_PX = 80;
const TICK = "M4 13l5 5 10-12";
const TICKS = "M1 13l5 5 9.5-12M10.5 16.5l1.5 1.5 10-12";
const REPLY = "M10 6l-6 6 6 6M4 12h10a6 6 0 016 6";

/** The message that the next one quotes. */
let quoted = null;
/** Which chat the log shows. */
let shown = null;
/** Whether the log shows its newest message. */
let atEnd = true;
/** Texts that were typed and not sent, by chat. */
const drafts = new Map();

const field = () => byId("composer-text");

export function startConversation() {
  byId("back").addEventListener("click", () => (location.hash = addressOf(state.number)));
  byId("quote-cancel").addEventListener("click", () => quote(null));
  byId("mark-read").addEventListener("click", (event) => act(event.currentTarget, markRead));
  byId("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  field().addEventListener("input", () => {
    grow();
    typed();
  });
  field().addEventListener("blur", stopTyping);
  // A screen keyboard takes room from the log.
  new ResizeObserver(stayAtEnd).observe(byId("log"));
  field().addEventListener("keydown", (event) => {
    if (event.key === "Escape" && quoted) quote(null);
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  });
}

export function drawConversation() {
  const owner = phone();
  const id = owner ? state.chat : null;
  const key = id && `${owner.number}/${id}`;
  if (key !== shown) open(key);
  byId("conversation-empty").hidden = id !== null;
  byId("conversation-head").hidden = byId("composer").hidden = id === null;
  if (id === null) {
    drawEmpty(owner);
    return;
  }
  const chat = chatOf(owner, id);
  drawHead(id, chat);
  drawLog(id, chat);
}

function drawEmpty(owner) {
  const place = byId("conversation-empty");
  if (!owner) sync(place, ["none"], (key) => key, () => el("p", {}, "Add a phone to begin."));
  else {
    const linked = owner.devices.length > 0;
    const hint = linked ? "Choose a chat, or write to a number."
      : "Create a session on your server, then scan it with this phone. Or choose a chat and write as this person.";
    sync(place, [`${owner.number}/${linked}`], (key) => key, () =>
      el("div", {}, avatar(owner.name, owner.number), el("h3", {}, `This is ${owner.name}'s phone`), el("p", {}, hint)));
  }
}

function drawHead(id, chat) {
  const name = nameOf(id);
  text(byId("conversation-name"), name);
  sync(byId("conversation-avatar"), [`${id}/${name}`], (key) => key, () => avatar(name, id));
  const online = conversation(id).presence === "available" ? "online" : null;
  const line = byId("conversation-state");
  text(line, typingText(chat?.typing) ?? online ?? (id.includes("@") ? "Group" : readable(id)));
  line.classList.toggle("typing", Boolean(chat?.typing && chat.typing !== "paused"));
  const unread = chat?.unread ?? 0;
  byId("mark-read").hidden = unread === 0;
  text(byId("mark-read"), unread === 1 ? "Mark read" : `Mark ${unread} read`);
}

/** Shows another chat: a new log, so that a screen reader does not read all of it as news. */
function open(key) {
  stopTyping();
  if (shown) drafts.set(shown, field().value);
  shown = key;
  quote(null);
  const log = el("ol", { class: "log", role: "log", "aria-live": "polite", "aria-label": "Messages", tabindex: "0",
    onscroll: () => (atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < NEAR_END_PX) });
  byId("log").replaceChildren(...(key ? [log] : []));
  atEnd = true;
  field().value = drafts.get(key) ?? "";
  grow();
}

function drawLog(id, chat) {
  const log = byId("log").firstChild;
  const chatMessages = conversation(id).messages;
  const items = [];
  chatMessages.forEach((message, index) => {
    const before = chatMessages[index - 1];
    if (!before || !sameDay(before.at, message.at)) items.push({ key: `day ${new Date(message.at).toDateString()}`, day: message.at });
    const follows = before && before.fromMe === message.fromMe && before.from === message.from && sameDay(before.at, message.at);
    items.push({ key: message.id, message, follows });
  });
  if (items.length === 0) items.push({ key: "empty", note: "No messages yet. Say hello." });
  const typing = typingText(chat?.typing);
  if (typing) items.push({ key: "typing", typing });
  sync(log, items, (item) => item.key, createItem, updateItem);
  stayAtEnd();
}

/** New messages come into view, unless the person looks at older ones. */
function stayAtEnd() {
  const log = byId("log").firstChild;
  if (log && atEnd) log.scrollTop = log.scrollHeight;
}

function createItem(item) {
  if (item.day) return el("li", { class: "day" }, dayOf(item.day));
  if (item.note) return el("li", { class: "day" }, item.note);
  if (item.typing) return el("li", { class: "bubble in dots", "aria-label": item.typing }, el("i"), el("i"), el("i"));
  const { message } = item;
  const reply = el("button", { type: "button", class: "icon reply", "aria-label": "Reply", onclick: () => quote(message) }, icon(REPLY));
  const body = el("div", { class: "body" });
  if (state.chat.includes("@") && !message.fromMe) body.append(el("strong", { class: "sender" }, nameOf(message.from)));
  if (message.replyTo) body.append(createQuote(message.replyTo));
  body.append(el("span", { class: "text" }), el("span", { class: "foot" }, el("time", {}, clock(message.at)), el("span", { class: "ticks" })));
  return el("li", { class: message.fromMe ? "bubble out" : "bubble in", "data-id": message.id }, body, reply);
}

function createQuote(id) {
  const original = conversation(state.chat).known.get(id);
  const who = original ? (original.fromMe ? "You" : nameOf(original.from)) : "Quoted message";
  return el("blockquote", {}, el("strong", {}, who), el("span", {}, original?.text ?? "An earlier message"));
}

function updateItem(node, item) {
  if (!item.message) return;
  const { message } = item;
  node.classList.toggle("follows", Boolean(item.follows));
  text(node.querySelector(".text"), message.text ?? "Waiting for this message. It was asked for again.");
  node.classList.toggle("waits", message.text === null);
  if (!message.fromMe) return;
  const label = ["Sent", "Delivered", "Read"][message.progress];
  const ticks = node.querySelector(".ticks");
  ticks.classList.toggle("read", message.progress === 2);
  sync(ticks, [label], (key) => key, () => icon(message.progress === 0 ? TICK : TICKS, label));
}

function quote(message) {
  quoted = message;
  byId("quote").hidden = message === null;
  if (message === null) return;
  text(byId("quote-who"), message.fromMe ? "You" : nameOf(message.from));
  text(byId("quote-text"), message.text ?? "");
  field().focus();
}

async function send() {
  const { number, chat } = state;
  const body = field().value;
  if (body.trim() === "" || !chat) return;
  const replyTo = quoted;
  field().value = "";
  drafts.delete(shown);
  quote(null);
  grow();
  typing.active = null;
  clearTimeout(typing.idle);
  try {
    await post(phonePath(number, "send"), { to: chat, text: body, ...(replyTo && { reply_to: replyTo.id }) });
  } catch (error) {
    toast(error.message);
    // The text goes back where it was, unless the person went on.
    if (state.number === number && state.chat === chat && field().value === "") {
      field().value = body;
      quote(replyTo);
      grow();
    }
  }
}

async function markRead() {
  const { number, chat } = state;
  const unread = chatOf(phone(), chat)?.unread ?? 0;
  const latest = conversation(chat).messages.filter((message) => !message.fromMe && message.text !== null).slice(-unread);
  for (const message of latest) await post(phonePath(number, "receipt"), { chat, id: message.id, type: "read" });
}

/** Whom the person types to, since when; and when typing counts as stopped. */
const typing = { active: null, since: 0, idle: null };

function typed() {
  clearTimeout(typing.idle);
  if (field().value === "") {
    stopTyping();
    return;
  }
  typing.idle = setTimeout(stopTyping, TYPING_IDLE_MS);
  const now = performance.now();
  if (typing.active && now - typing.since < TYPING_REPEAT_MS) return;
  typing.active = { number: state.number, chat: state.chat };
  typing.since = now;
  sendTyping(typing.active, "composing");
}

function stopTyping() {
  clearTimeout(typing.idle);
  if (!typing.active) return;
  sendTyping(typing.active, "paused");
  typing.active = null;
}

/** A lost typing notice is not worth a word to the person. */
function sendTyping({ number, chat }, current) {
  post(phonePath(number, "typing"), { chat, state: current }).catch(() => {});
}

function grow() {
  field().style.height = "auto";
  field().style.height = `${Math.min(field().scrollHeight, FIELD_HEIGHT_MAX_PX)}px`;
}
