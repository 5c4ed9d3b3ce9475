// What the page knows: phones, the chosen phone's conversations, webhooks, health. Panels read it and are drawn again when
// it changes; only this file changes it.

import { get, phonePath } from "/api.js";
import { readable } from "/dom.js";

const HOOKS_SHOWN_MAX = 200;
const MESSAGES_PER_CHAT_MAX = 500;
const PROGRESS = { sent: 0, delivered: 1, read: 2, played: 2 };

export const state = {
  phones: [],
  loaded: false,
  number: null,
  view: "chats",
  chat: null,
  conversations: new Map(),
  inboxOf: null,
  inboxNext: 0,
  hooks: [],
  hookNames: [],
  sessions: [],
  attached: true,
  metrics: null,
  online: true,
};

let draw = () => {};
let drawing = false;

/** Sets what draws the page. */
export function onChange(callback) {
  draw = callback;
}

/** Draws the page once, soon. */
export function changed() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    draw();
  });
}

export const phone = () => state.phones.find((candidate) => candidate.number === state.number) ?? null;

export const chatOf = (owner, id) => owner?.chats.find((candidate) => candidate.chat === id) ?? null;

/** The name that the chosen phone shows for a number or group. */
export function nameOf(id) {
  const owner = phone();
  const own = owner?.contacts.find((contact) => contact.number === id)?.name ?? chatOf(owner, id)?.name;
  return own || state.phones.find((candidate) => candidate.number === id)?.name || readable(id);
}

export function setOnline(online) {
  if (state.online === online) return;
  state.online = online;
  changed();
}

/** Follows the address: `#/{number}/{view}/{chat}`. */
export function follow(hash) {
  const [number, view, chat] = hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  const known = state.phones.some((candidate) => candidate.number === number);
  state.number = known ? number : (likely()?.number ?? null);
  state.view = ["chats", "devices", "webhooks"].includes(view) ? view : "chats";
  state.chat = known && state.view === "chats" && chat ? chat : null;
  changed();
}

/** The phone that a person who chose none most likely wants: a linked one, else one with chats. */
const likely = () =>
  state.phones.find((owner) => owner.devices.length > 0) ?? state.phones.find((owner) => owner.chats.length > 0) ?? state.phones[0];

export const addressOf = (number, view = "chats", chat = "") =>
  `#/${encodeURIComponent(number)}/${view}${chat && `/${encodeURIComponent(chat)}`}`;

export async function loadPhones() {
  state.phones = await get("/admin/phones");
  state.loaded = true;
  follow(location.hash);
}

let loadingInbox = null;

/** Reads what the chosen phone shows since the last time. Calls that overlap run one after the other. */
export function loadInbox() {
  loadingInbox = (loadingInbox ?? Promise.resolve()).catch(() => {}).then(readInbox);
  return loadingInbox;
}

async function readInbox() {
  const number = state.number;
  if (!number) return;
  if (state.inboxOf !== number) {
    state.inboxOf = number;
    state.inboxNext = 0;
    state.conversations = new Map();
  }
  for (;;) {
    const page = await get(phonePath(number, `inbox?after=${state.inboxNext}`));
    if (state.number !== number || state.inboxOf !== number) return;
    page.entries.forEach(show);
    state.inboxNext = page.next;
    if (page.entries.length === 0) break;
  }
  changed();
}

/** Forgets what was read, so that it is read anew: after a reset or a restart of the sandbox. */
export function forget() {
  state.inboxOf = null;
  state.conversations = new Map();
  state.hooks = [];
  hookNext.clear();
}

export function conversation(chat) {
  let found = state.conversations.get(chat);
  if (!found) {
    found = { messages: [], known: new Map(), presence: null };
    state.conversations.set(chat, found);
  }
  return found;
}

/** What changes of a message, by kind of entry. */
const CHANGES = {
  reaction: (message, { from, text }) => (text ? message.reactions.set(from, text) : message.reactions.delete(from)),
  edit: (message, { text }) => Object.assign(message, { text: text ?? null, edited: true }),
  revoke: (message) => {
    Object.assign(message, { revoked: true, text: null, content: null, pinned: false, starred: false, edited: false });
    message.reactions.clear();
  },
  vote: (message, { from, votes }) => (votes ? message.votes.set(from, votes) : message.votes.delete(from)),
  pin: (message, { state: pinned }) => (message.pinned = pinned === "pinned"),
  star: (message, { state: starred }) => (message.starred = starred === "starred"),
};

/** Puts one inbox entry where the phone would show it. */
function show(entry) {
  const chat = conversation(entry.chat);
  const known = entry.id === undefined ? undefined : chat.known.get(entry.id);
  if (entry.kind === "message" || entry.kind === "undecryptable") {
    const message = known ?? { id: entry.id ?? `entry-${entry.cursor}`, progress: 0 };
    // A text that came after all replaces the note that it could not be read, never the other way round.
    if (known && entry.kind === "undecryptable") return;
    Object.assign(message, {
      from: entry.from,
      fromMe: entry.from_me,
      waits: entry.kind === "undecryptable",
      text: entry.text ?? null,
      content: entry.content ?? null,
      replyTo: entry.reply_to ?? null,
      at: entry.timestamp * 1000,
      reactions: new Map(),
      votes: new Map(),
    });
    if (!known) remember(chat, message);
  } else if (known && CHANGES[entry.kind]) {
    CHANGES[entry.kind](known, entry);
  } else if (entry.kind === "receipt" && known?.fromMe) {
    known.progress = Math.max(known.progress, PROGRESS[entry.receipt] ?? 0);
  } else if (entry.kind === "presence" && !entry.from_me) {
    chat.presence = entry.state ?? null;
  }
}

function remember(chat, message) {
  chat.known.set(message.id, message);
  // Nearly always the end; a message that waited somewhere goes to where its time puts it.
  let place = chat.messages.length;
  while (place > 0 && chat.messages[place - 1].at > message.at) place -= 1;
  chat.messages.splice(place, 0, message);
  if (chat.messages.length > MESSAGES_PER_CHAT_MAX) chat.known.delete(chat.messages.shift().id);
}

/** Up to where each name's requests were read. */
const hookNext = new Map();

/** Reads webhook requests since the last time, of all names. */
export async function loadHooks() {
  const names = await get("/hook");
  const oldest = new Map(names.map((hook) => [hook.name, hook.oldest]));
  // What the sandbox dropped or was told to forget goes here too.
  state.hooks = state.hooks.filter((request) => request.cursor >= (oldest.get(request.hook) ?? Infinity));
  state.hookNames = names.map((hook) => hook.name);
  for (const hook of names) {
    for (let after = Math.max(hookNext.get(hook.name) ?? 0, hook.oldest - 1); after < hook.newest; ) {
      const page = await get(`/hook/${encodeURIComponent(hook.name)}?after=${after}`);
      if (page.entries.length === 0) break;
      state.hooks.unshift(...page.entries.map((entry) => ({ ...entry, hook: hook.name })).reverse());
      after = page.next;
      hookNext.set(hook.name, after);
    }
  }
  state.hooks.sort((a, b) => b.cursor - a.cursor);
  state.hooks.length = Math.min(state.hooks.length, HOOKS_SHOWN_MAX);
  changed();
}

export async function loadHealth() {
  const [sessions, metrics] = await Promise.all([get("/admin/sessions"), get("/admin/metrics")]);
  state.sessions = sessions.sessions.map((session) => session.name);
  state.attached = sessions.attached;
  state.metrics = metrics;
  changed();
}
