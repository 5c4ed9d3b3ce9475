// What a bubble shows besides its text: media, places, contacts, polls, lists, buttons, previews, reactions.
// Everything in a message is hostile: it becomes text, or a file that the sandbox serves harmlessly.

import { messagePath, phonePath, post } from "/api.js";
import { nameOf, state } from "/store.js";
import { act, el, icon, text } from "/dom.js";

const PIN = "M12 21s7-6.2 7-11a7 7 0 10-14 0c0 4.8 7 11 7 11zM12 12.2a2.2 2.2 0 100-4.4 2.2 2.2 0 000 4.4z";
const PAPER = "M6 3h8l4 4v14H6zM14 3v4h4";
const PERSON = "M12 12a4 4 0 100-8 4 4 0 000 8zM4 20c1-4 4-6 8-6s7 2 8 6";
const KINDS = { image: "Photo", video: "Video", note: "Video message", audio: "Audio", voice: "Voice message", document: "Document", sticker: "Sticker" };

/** A message in one line, for lists and quotes. */
export function summary(message) {
  if (message.revoked) return "This message was deleted";
  if (message.text) return message.text;
  const { content } = message;
  if (!content) return "Waiting for this message";
  if (content.media) return content.media.filename ?? KINDS[content.media.kind];
  if (content.location) return content.location.name ?? "Location";
  if (content.contacts) return content.contacts.map((contact) => contact.name).join(", ");
  if (content.poll) return `Poll: ${content.poll.name}`;
  return content.list?.title ?? content.buttons?.header ?? "Message";
}

/** What changes how the parts look; they are built anew when it changes. */
export const partsKey = (message) =>
  JSON.stringify([message.content, message.revoked, message.content?.poll ? [...message.votes] : null]);

/** The parts above the text. */
export function createParts(message) {
  const content = message.content ?? {};
  const parts = [];
  if (content.forwarded) parts.push(el("small", { class: "note" }, "Forwarded"));
  if (content.view_once) parts.push(el("small", { class: "note" }, "View once"));
  if (content.media) parts.push(media(message, content.media));
  if (content.location) parts.push(place(content.location));
  for (const contact of content.contacts ?? []) parts.push(card(PERSON, contact.name, phoneIn(contact.vcard)));
  if (content.link_preview) parts.push(preview(message, content.link_preview));
  if (content.poll) parts.push(poll(message, content.poll));
  if (content.list?.title) parts.push(el("strong", {}, content.list.title));
  if (content.buttons?.header) parts.push(el("strong", {}, content.buttons.header));
  return el("div", { class: "parts" }, ...parts);
}

/** The parts below the text: what a person can choose from. */
export function createChoices(message) {
  const { list, buttons } = message.content ?? {};
  const answer = (what) => post(phonePath(state.number, "send"), { to: state.chat, reply_to: message.id, ...what });
  const choices = [];
  for (const section of list?.sections ?? []) {
    if (section.title) choices.push(el("small", { class: "note" }, section.title));
    for (const row of section.rows) choices.push(choice(row.title, row.description, () => answer({ list_reply: row.id })));
  }
  for (const button of buttons?.buttons ?? []) {
    const reply = button.kind === "reply" ? () => answer({ button_reply: button.value }) : null;
    choices.push(choice(button.text, reply ? null : button.value, reply));
  }
  const footer = list?.footer ?? buttons?.footer;
  if (footer) choices.push(el("small", { class: "note" }, footer));
  return el("div", { class: "choices" }, ...choices);
}

function choice(title, description, pressed) {
  const words = [el("span", {}, title), description ? el("small", {}, description) : null];
  if (!pressed) return el("p", { class: "choice" }, ...words);
  return el("button", { type: "button", class: "choice", onclick: (event) => act(event.currentTarget, pressed) }, ...words);
}

function media(message, file) {
  const source = messagePath(state.number, state.chat, message.id, "media");
  const name = file.filename ?? KINDS[file.kind];
  const gone = (event) => event.target.replaceWith(card(PAPER, name, "The file is not there any more"));
  if (file.kind === "image" || file.kind === "sticker") {
    return el("img", { class: file.kind, src: source, alt: name, loading: "lazy", width: file.width, height: file.height, onerror: gone });
  }
  const poster = file.thumbnail ? messagePath(state.number, state.chat, message.id, "thumbnail") : null;
  if (file.kind === "video" || file.kind === "note") {
    return el("video", { class: file.kind, src: source, poster, controls: true, preload: "none", "aria-label": name, onerror: gone });
  }
  if (file.kind === "audio" || file.kind === "voice") {
    return el("audio", { src: source, controls: true, preload: "none", "aria-label": name, onerror: gone });
  }
  const pages = file.pages ? `${file.pages} ${file.pages === 1 ? "page" : "pages"}, ` : "";
  return el("a", { href: source, download: name, class: "file" }, card(PAPER, name, `${pages}${sizeOf(file.size)}`));
}

function place(location) {
  const where = `${location.latitude.toFixed(5)}, ${location.longitude.toFixed(5)}`;
  return card(PIN, location.name ?? (location.live ? "Live location" : "Location"), location.address ?? where, location.address && where);
}

function card(sign, title, ...lines) {
  const words = lines.filter(Boolean).map((line) => el("small", {}, line));
  return el("div", { class: "card" }, icon(sign), el("div", { class: "words" }, el("strong", {}, title), ...words));
}

function preview(message, link) {
  const source = messagePath(state.number, state.chat, message.id, "thumbnail");
  const picture = link.thumbnail ? el("img", { src: source, alt: "", loading: "lazy" }) : null;
  const words = el("div", { class: "words" }, el("strong", {}, link.title ?? link.url),
    link.description ? el("small", {}, link.description) : null, el("small", {}, link.url));
  return el("div", { class: "card" }, picture, words);
}

function poll(message, asked) {
  const mine = new Set(message.votes.get(state.number));
  const votesFor = (option) => [...message.votes].filter(([, chosen]) => chosen.includes(option)).map(([who]) => who);
  const most = Math.max(1, ...asked.options.map((option) => votesFor(option.name).length));
  const rows = asked.options.map(({ name }) => {
    const voters = votesFor(name);
    const vote = () => {
      const others = asked.multiple ? [...mine].filter((option) => option !== name) : [];
      const options = mine.has(name) ? others : [...others, name];
      return post(phonePath(state.number, "vote"), { chat: state.chat, id: message.id, options });
    };
    const who = voters.map((number) => (number === state.number ? "You" : nameOf(number))).join(", ");
    return el("button", { type: "button", class: "option", "aria-pressed": String(mine.has(name)), title: who, onclick: (event) => act(event.currentTarget, vote) },
      el("span", {}, name), el("span", { class: "votes" }, String(voters.length)),
      el("meter", { min: 0, max: most, value: voters.length, "aria-hidden": "true" }));
  });
  return el("div", { class: "poll" }, el("strong", {}, asked.name),
    el("small", {}, asked.multiple ? "Choose one or more" : "Choose one"), ...rows);
}

/** The marks in a bubble's corner, and the reactions below it. */
export function updateMarks(node, message) {
  const marks = [message.pinned && "Pinned", message.starred && "Starred", message.edited && "Edited"].filter(Boolean);
  text(node.querySelector(".marks"), marks.join(" · "));
  const reactions = node.querySelector(".reactions");
  const emoji = [...new Set(message.reactions.values())].join("");
  text(reactions, message.reactions.size > 1 ? `${emoji} ${message.reactions.size}` : emoji);
  reactions.hidden = message.reactions.size === 0;
  reactions.title = [...message.reactions].map(([who, what]) => `${who === state.number ? "You" : nameOf(who)} ${what}`).join(", ");
}

/** The first phone number of a contact's card. */
const phoneIn = (vcard) => /^TEL[^:]*:(.+)$/m.exec(vcard)?.[1]?.trim() ?? null;

function sizeOf(bytes = 0) {
  const units = ["bytes", "kB", "MB", "GB"];
  const power = Math.min(units.length - 1, bytes < 1000 ? 0 : Math.floor(Math.log10(bytes) / 3));
  return `${(bytes / 1000 ** power).toLocaleString(undefined, { maximumFractionDigits: power ? 1 : 0 })} ${units[power]}`;
}
