// Webhook requests as they arrive, newest first, each with its JSON and headers to unfold.

import { changed, state } from "/store.js";
import { byId, el, exactClock, sync, text } from "/dom.js";

/** The name that the list is narrowed to; empty shows all. */
let only = "";

export function startWebhooks() {
  byId("hook-filter").addEventListener("change", (event) => {
    only = event.target.value;
    changed();
  });
}

export function drawWebhooks() {
  if (only && !state.hookNames.includes(only)) only = "";
  byId("hook-filter-label").hidden = state.hookNames.length < 2;
  const choices = [{ value: "", label: "All hooks" }, ...state.hookNames.map((name) => ({ value: name, label: name }))];
  sync(byId("hook-filter"), choices, (choice) => choice.value, (choice) => el("option", { value: choice.value }, choice.label));
  byId("hook-filter").value = only;

  const requests = state.hooks.filter((request) => only === "" || request.hook === only);
  sync(byId("hook-list"), requests, (request) => request.cursor, createRequest);
  byId("hooks-empty").hidden = requests.length > 0;
  if (byId("hooks-empty").childElementCount === 0) byId("hooks-empty").append(...explain());
}

function explain() {
  return [
    el("p", {}, "Nothing arrived yet. Give a session this webhook address:"),
    el("code", { class: "copy" }, `${location.origin}/hook/me`),
  ];
}

function createRequest(received) {
  const request = { ...received, json: parse(received.body) };
  const event = typeof request.json?.event === "string" ? request.json.event : request.method;
  const family = event.split(".")[0];
  const summary = el("summary", {},
    el("span", { class: `badge ${["message", "session"].includes(family) ? family : "other"}` }, event),
    el("span", { class: "about" }, about(request)),
    el("time", {}, exactClock(request.received_at)));
  const details = el("details", {}, summary);
  // Built when it is opened: most are not.
  details.addEventListener("toggle", () => {
    if (details.open && details.childElementCount === 1) details.append(...unfold(request));
  });
  return el("li", {}, details);
}

/** The body as JSON in the order in which it was written; null if it is none. */
function parse(body) {
  try {
    return JSON.parse(body);
  } catch {
    return null;
  }
}

/** The most telling words of a request. Anything may be missing or of another type. */
function about({ json, body, hook }) {
  const payload = json?.payload;
  const parts = [json?.session ?? hook];
  if (payload && typeof payload === "object") {
    parts.push(payload.body ?? payload.status ?? payload.ackName ?? payload.text);
  } else if (!json) parts.push(body.slice(0, 80));
  return parts.filter((part) => typeof part === "string" && part !== "").join(" · ");
}

function unfold(request) {
  const rows = Object.entries(request.headers).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]);
  const query = request.query && `?${request.query}`;
  const content = el("pre", { tabindex: "0", "aria-label": "Body" });
  if (request.json === null) text(content, request.body || "(empty)");
  else colour(content, JSON.stringify(request.json, null, 2));
  return [
    content,
    el("details", { class: "headers" }, el("summary", {}, `${rows.length / 2} headers`),
      el("dl", {}, el("dt", {}, request.method), el("dd", {}, `/hook/${request.hook}${query}`), ...rows)),
  ];
}

/** Pretty-printed JSON with its keys, texts and other values told apart. */
function colour(place, json) {
  const token = /("(?:[^"\\]|\\.)*")(\s*:)?|\b(?:true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
  let end = 0;
  for (const match of json.matchAll(token)) {
    place.append(json.slice(end, match.index));
    const [whole, quoted, colon] = match;
    const kind = colon ? "key" : quoted ? "string" : "value";
    place.append(el("span", { class: `json-${kind}` }, quoted ?? whole), colon ?? "");
    end = match.index + whole.length;
  }
  place.append(json.slice(end));
}
