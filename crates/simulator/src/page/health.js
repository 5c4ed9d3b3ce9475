// The network's health: one line that turns red when a client did something a strict server objects to, and its details.

import { post } from "/api.js";
import { changed, state } from "/store.js";
import { byId, confirmTwice, el, exactClock, sync, text } from "/dom.js";

const PROBLEMS = [
  { count: "unknown_count", list: "unknown", title: "Unknown requests" },
  { count: "malformed_count", list: "malformed", title: "Malformed stanzas" },
  { count: "unacked_count", list: "unacked", title: "Not acknowledged" },
  { count: "unmatched_count", list: "unmatched", title: "Acknowledged without reason" },
];

export function startHealth() {
  const dialog = byId("health-dialog");
  byId("health").addEventListener("click", () => {
    dialog.showModal();
    changed();
  });
  byId("health-close").addEventListener("click", () => dialog.close());
  confirmTwice(byId("reset"), "Erase everything?", async () => {
    await post("/admin/reset");
    dialog.close();
  });
}

export function drawHealth() {
  const metrics = state.metrics;
  const button = byId("health");
  button.classList.toggle("bad", state.online && metrics !== null && problems(metrics) > 0);
  button.classList.toggle("good", state.online && metrics !== null && problems(metrics) === 0);
  if (!metrics || !state.online) {
    text(byId("health-text"), state.online ? "Connecting…" : "Offline");
    text(byId("health-more"), "");
    return;
  }
  const found = PROBLEMS.filter(({ count }) => metrics[count] > 0).map(({ count, list }) => `${metrics[count]} ${list}`);
  if (metrics.prekeys_reused > 0) found.push(`${metrics.prekeys_reused} keys reused`);
  const connected = `${metrics.connections} connected`;
  text(byId("health-text"), found.length ? found.join(" · ") : connected);
  text(byId("health-more"), found.length ? "" : " · no errors");
  if (byId("health-dialog").open) drawDetails(metrics);
  else byId("network-details").syncedNodes = undefined, byId("network-details").replaceChildren();
}

const problems = (metrics) =>
  PROBLEMS.reduce((sum, { count }) => sum + metrics[count], 0) + metrics.prekeys_reused;

function drawDetails(metrics) {
  const { handshakes } = metrics;
  const facts = [
    ["Connections", metrics.connections],
    ["Handshakes", `${handshakes.xx} full, ${handshakes.ik} resumed, ${handshakes.xxfallback} fallback`],
    ["One-time keys used twice", metrics.prekeys_reused],
  ];
  const sections = [
    { key: JSON.stringify(facts), build: () => el("dl", { class: "facts" }, ...facts.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, String(value))])) },
    ...PROBLEMS.map(({ count, list, title }) => ({
      key: `${list} ${JSON.stringify(metrics[list])} ${metrics[count]}`,
      build: () => problemList(`${title}: ${metrics[count]}`, metrics[list], metrics[count] > 0),
    })),
  ];
  sync(byId("network-details"), sections, (section) => section.key, (section) => section.build());
  const rows = Object.entries(metrics.stanzas).map(([name, count]) => ({ name, count }));
  byId("stanzas").hidden = rows.length === 0;
  sync(byId("stanza-rows"), rows, (row) => row.name,
    (row) => el("tr", {}, el("th", { scope: "row" }, row.name), el("td")),
    (node, row) => text(node.lastChild, String(row.count)));
}

function problemList(title, entries, bad) {
  const rows = [...entries].reverse().map((entry) => {
    const what = entry.what ?? `${entry.stanza} ${entry.id}${entry.open ? ", still waiting" : ""}`;
    const at = exactClock((entry.at ?? entry.delivered_at) * 1000);
    return el("li", {}, el("time", {}, at), " ", el("code", {}, entry.device || "before login"), " ", what);
  });
  return el("section", { class: bad ? "problem bad" : "problem" }, el("h3", {}, title), rows.length ? el("ul", {}, ...rows) : null);
}
