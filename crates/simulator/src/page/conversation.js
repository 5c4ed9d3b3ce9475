// The open chat: bubbles with ticks and quotes, the message field, read receipts, and typing while the person types.
// What is in a bubble besides its text is in message.js.

import { phonePath, post } from "/api.js";
import { typingText } from "/chats.js";
import { sendFile } from "/files.js";
import { openMenu } from "/menu.js";
import { createChoices, createParts, partsKey, summary, updateMarks } from "/message.js";
import { addressOf, chatOf, conversation, nameOf, phone, state } from "/store.js";
import { act, avatar, byId, clock, dayOf, el, icon, readable, sameDay, sync, text, toast } from "/dom.js";

const TYPING_REPEAT_MS = 8000;
const TYPING_IDLE_MS = 3000;
const FIELD_HEIGHT_MAX_PX = 160;
const NEAR_END_PX = 80;
const TICK = "M4 13l5 5 10-12";
const TICKS = "M1 13l5 5 9.5-12M10.5 16.5l1.5 1.5 10-12";
const REPLY = "M10 6l-6 6 6 6M4 12h10a6 6 0 016 6";
const MORE = "M5 12h.01M12 12h.01M19 12h.01";

/** The message that the next one quotes. */
let quoted = null;
/** The message whose text is in the field to be changed. */
let edited = null;
/** Which chat the log shows. */
let shown = null;
/** Whether the log shows its newest message. */
let atEnd = true;
/** Texts that were typed and not sent, by chat. */
const drafts = new Map();

const field = () => byId("composer-text");

export function startConversation() {
  byId("back").addEventListener("click", () => (location.hash = addressOf(state.number)));
  byId("quote-cancel").addEventListener("click", leaveMessage);
  byId("attach").addEventListener("change", (event) => attach(event.currentTarget));
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
    if (event.key === "Escape" && (quoted || edited)) leaveMessage();
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
  if (edited) leaveMessage();
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
  const more = el("button", { type: "button", class: "icon more", "aria-label": "More",
    onclick: (event) => openMenu(event.currentTarget, message, { quote, edit }) }, icon(MORE));
  const body = el("div", { class: "body" });
  if (state.chat.includes("@") && !message.fromMe) body.append(el("strong", { class: "sender" }, nameOf(message.from)));
  if (message.replyTo) body.append(createQuote(message));
  const foot = el("span", { class: "foot" }, el("span", { class: "marks" }), el("time", {}, clock(message.at)), el("span", { class: "ticks" }));
  body.append(el("div", { class: "above" }), el("span", { class: "text" }), foot, el("div", { class: "below" }), el("span", { class: "reactions", hidden: true }));
  return el("li", { class: message.fromMe ? "bubble out" : "bubble in", "data-id": message.id }, body, reply, more);
}

function createQuote(message) {
  const original = conversation(state.chat).known.get(message.replyTo);
  const who = original ? (original.fromMe ? "You" : nameOf(original.from)) : "Quoted message";
  const words = original ? summary(original) : (message.content?.quoted?.text ?? "An earlier message");
  return el("blockquote", {}, el("strong", {}, who), el("span", {}, words));
}

function updateItem(node, item) {
  if (!item.message) return;
  const { message } = item;
  node.classList.toggle("follows", Boolean(item.follows));
  const isGone = message.waits || Boolean(message.revoked);
  const instead = message.revoked ? summary(message) : "Waiting for this message. It was asked for again.";
  text(node.querySelector(".text"), isGone ? instead : (message.text ?? ""));
  node.classList.toggle("waits", isGone);
  node.querySelector(".reply").hidden = node.querySelector(".more").hidden = isGone;
  const key = [partsKey(message)];
  sync(node.querySelector(".above"), key, (it) => it, () => createParts(message));
  sync(node.querySelector(".below"), key, (it) => it, () => createChoices(message));
  updateMarks(node, message);
  if (!message.fromMe) return;
  const label = ["Sent", "Delivered", "Read"][message.progress];
  const ticks = node.querySelector(".ticks");
  ticks.classList.toggle("read", message.progress === 2);
  sync(ticks, [label], (key) => key, () => icon(message.progress === 0 ? TICK : TICKS, label));
}

function quote(message) {
  if (edited) leaveMessage();
  quoted = message;
  showBar(message, message?.fromMe ? "You" : nameOf(message?.from ?? ""));
}

/** Puts the text of an own message into the field, to be changed. */
function edit(message) {
  quoted = null;
  edited = message;
  field().value = message.text;
  grow();
  showBar(message, "Edit message");
}

function showBar(message, title) {
  byId("quote").hidden = message === null;
  if (message === null) return;
  text(byId("quote-who"), title);
  text(byId("quote-text"), summary(message));
  field().focus();
}

/** Neither quotes nor edits any more. */
function leaveMessage() {
  if (edited) field().value = "";
  edited = null;
  quote(null);
  grow();
}

async function send() {
  const { number, chat } = state;
  const body = field().value;
  if (body.trim() === "" || !chat) return;
  const [replyTo, changes] = [quoted, edited];
  clearField();
  try {
    if (changes) await post(phonePath(number, "edit"), { chat, id: changes.id, text: body });
    else await post(phonePath(number, "send"), { to: chat, text: body, ...(replyTo && { reply_to: replyTo.id }) });
  } catch (error) {
    toast(error.message);
    // The text goes back where it was, unless the person went on.
    if (state.number !== number || state.chat !== chat || field().value !== "") return;
    if (changes) edit(changes);
    else quote(replyTo);
    field().value = body;
    grow();
  }
}

function clearField() {
  field().value = "";
  drafts.delete(shown);
  edited = null;
  quote(null);
  grow();
  typing.active = null;
  clearTimeout(typing.idle);
}

/** Sends the chosen file, with what is in the field as its caption. */
async function attach(input) {
  const { number, chat } = state;
  const [file] = input.files;
  const [caption, replyTo] = [edited ? "" : field().value.trim(), quoted];
  input.value = "";
  if (!file || !chat) return;
  await act(input, async () => {
    await sendFile(file, number, chat, caption, replyTo);
    if (state.chat === chat && field().value.trim() === caption) clearField();
  });
}

async function markRead() {
  const { number, chat } = state;
  const unread = chatOf(phone(), chat)?.unread ?? 0;
  const latest = conversation(chat).messages.filter((message) => !message.fromMe && !message.waits).slice(-unread);
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
