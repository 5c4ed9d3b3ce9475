// The few things that every panel needs to build elements. Text only ever becomes a text node: what peers and webhooks
// send is hostile.

const SVG = "http://www.w3.org/2000/svg";

/** An element; `props` are attributes, except `on…` handlers. Children are elements or text. */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** A line icon from path data. */
export function icon(path, label) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  if (label) {
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", label);
  } else svg.setAttribute("aria-hidden", "true");
  const shape = document.createElementNS(SVG, "path");
  shape.setAttribute("d", path);
  svg.append(shape);
  return svg;
}

export const byId = (id) => document.getElementById(id);

/** Changes the text only if it differs, so that live regions stay quiet. */
export function text(node, value) {
  if (node.textContent !== value) node.textContent = value;
}

/**
 * Makes the children of `parent` those of `items`, keeping elements (with their focus, scroll and open state) that are
 * there already. `create(item)` builds one, `update(node, item)` fills it each time.
 */
export function sync(parent, items, keyOf, create, update = () => {}) {
  const known = (parent.syncedNodes ??= new Map());
  const wanted = new Map(items.map((item) => [keyOf(item), item]));
  const focused = document.activeElement;
  // What goes, goes first: otherwise everything behind it would have to move.
  for (const [key, node] of known) {
    if (wanted.has(key)) continue;
    known.delete(key);
    node.remove();
  }
  let place = parent.firstChild;
  for (const [key, item] of wanted) {
    const node = known.get(key) ?? create(item);
    known.set(key, node);
    update(node, item);
    if (node === place) place = place.nextSibling;
    else parent.insertBefore(node, place);
  }
  if (focused !== document.activeElement && parent.contains(focused)) focused.focus();
}

/** A round picture with initials, coloured by the id behind it. */
export function avatar(name, id) {
  const words = name.replace(/[^\p{L}\p{N} ]/gu, "").trim().split(/\s+/);
  const initials = /\p{L}/u.test(name) ? words.slice(0, 2).map((word) => [...word][0] ?? "").join("") : "#";
  let tone = 0;
  for (const char of id) tone = (tone * 31 + char.codePointAt(0)) % 8;
  return el("span", { class: `avatar tone-${tone}`, "aria-hidden": "true" }, initials.toUpperCase());
}

/** A number as people write it; North American ones get their usual groups. */
export function readable(number) {
  const us = /^1(\d{3})(\d{3})(\d{4})$/.exec(number);
  if (us) return `+1 ${us[1]} ${us[2]} ${us[3]}`;
  return /^\d+$/.test(number) ? `+${number}` : number;
}

const time = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
const seconds = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const shortDay = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });

export const clock = (ms) => time.format(ms);
export const exactClock = (ms) => seconds.format(ms);
export const dayOf = (ms) => (sameDay(ms, Date.now()) ? "Today" : day.format(ms));
export const when = (ms) => (sameDay(ms, Date.now()) ? time.format(ms) : shortDay.format(ms));
export const sameDay = (a, b) => new Date(a).toDateString() === new Date(b).toDateString();

/** Tells the person what went wrong, for a while. */
export function toast(message) {
  const note = el("p", {}, message);
  byId("toasts").append(note);
  setTimeout(() => note.remove(), 6000);
}

/** Runs what a button does: one at a time, and failures are shown. */
export async function act(button, action) {
  if (button.disabled) return undefined;
  button.disabled = true;
  try {
    return await action();
  } catch (error) {
    toast(error.message);
    return undefined;
  } finally {
    button.disabled = false;
  }
}

/** A button that asks for a second press before it does something that cannot be undone. */
export function confirmTwice(button, question, action) {
  const label = button.textContent;
  let armed = null;
  const disarm = () => {
    clearTimeout(armed);
    armed = null;
    button.textContent = label;
    button.classList.remove("armed");
  };
  button.addEventListener("click", () => {
    if (armed) {
      disarm();
      act(button, action);
      return;
    }
    button.textContent = question;
    button.classList.add("armed");
    armed = setTimeout(disarm, 4000);
  });
  button.addEventListener("blur", () => armed && disarm());
}
