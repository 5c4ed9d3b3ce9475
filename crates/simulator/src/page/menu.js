// What a person can do with one message: react, reply, edit, pin, delete.

import { phonePath, post } from "/api.js";
import { state } from "/store.js";
import { act, byId, confirmTwice, el } from "/dom.js";

const EMOJI = ["👍", "❤️", "😂", "😮", "😢", "🙏"];
const EDGE_PX = 8;

/** Opens the menu of a message next to the button that was pressed. */
export function openMenu(button, message, { quote, edit }) {
  const menu = byId("menu");
  const done = () => menu.hidePopover();
  const change = async (what, more) => {
    done();
    await post(phonePath(state.number, what), { chat: state.chat, id: message.id, ...more });
  };
  const mine = message.reactions.get(state.number);
  const reactions = EMOJI.map((emoji) =>
    el("button", { type: "button", class: "icon", "aria-label": `React with ${emoji}`, "aria-pressed": String(mine === emoji),
      onclick: (event) => act(event.currentTarget, () => change("react", { emoji: mine === emoji ? "" : emoji })) }, emoji));
  const entries = [entry("Reply", () => (done(), quote(message)))];
  if (message.fromMe && message.text !== null && !message.content?.poll) {
    entries.push(entry("Edit", () => (done(), edit(message))));
  }
  entries.push(entry(message.pinned ? "Unpin" : "Pin", () => change("pin", { pinned: !message.pinned })));
  if (message.fromMe) entries.push(deletion(() => change("revoke")));
  menu.replaceChildren(el("div", { class: "emoji", role: "group", "aria-label": "React" }, ...reactions), ...entries);
  menu.showPopover();
  place(menu, button);
}

const entry = (label, pressed) =>
  el("button", { type: "button", class: "entry", onclick: (event) => act(event.currentTarget, async () => pressed()) }, label);

function deletion(remove) {
  const button = el("button", { type: "button", class: "entry" }, "Delete for everyone");
  confirmTwice(button, "Really delete?", remove);
  return button;
}

/** Next to the button, and within the window. */
function place(menu, button) {
  const at = button.getBoundingClientRect();
  const size = menu.getBoundingClientRect();
  const left = Math.min(at.left, innerWidth - size.width - EDGE_PX);
  const below = at.bottom + size.height + EDGE_PX < innerHeight;
  menu.style.left = `${Math.max(EDGE_PX, left)}px`;
  menu.style.top = `${below ? at.bottom : Math.max(EDGE_PX, at.top - size.height)}px`;
}
