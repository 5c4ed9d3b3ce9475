// Starts the page: follows the sandbox's changes and draws the panels.

import { ApiError, get, post } from "/api.js";
import { drawChats, drawPhones, startLists } from "/chats.js";
import { drawConversation, startConversation } from "/conversation.js";
import { drawDevices, drawWaiting, startDevices } from "/devices.js";
import { drawHealth, startHealth } from "/health.js";
import { drawWebhooks, startWebhooks } from "/webhooks.js";
import { addressOf, changed, follow, forget, loadHealth, loadHooks, loadInbox, loadPhones, onChange, phone, setOnline, state } from "/store.js";
import { byId, text, toast } from "/dom.js";

const WAIT_SECONDS = 25;
const RETRY_MS = 1500;
const REFRESH_PAUSE_MS = 120;
const HEALTH_EVERY_MS = 2000;

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function draw() {
  const owner = phone();
  document.body.dataset.view = state.view;
  document.body.classList.toggle("in-chat", state.chat !== null);
  document.title = owner ? `${owner.name} · Wharf sandbox` : "Wharf sandbox";
  byId("offline").hidden = state.online;
  text(byId("chats-title"), owner ? `${owner.name}'s chats` : "Chats");
  for (const tab of document.querySelectorAll("[data-tab]")) {
    tab.href = owner ? addressOf(owner.number, tab.dataset.tab) : "#/";
    if (tab.dataset.tab === state.view) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  drawPhones();
  drawChats();
  drawConversation();
  drawDevices();
  drawWaiting();
  drawWebhooks();
  drawHealth();
}

/** Waits for changes for ever and reloads what changed. */
async function followChanges() {
  let seen = null;
  for (;;) {
    try {
      const now = await get(`/admin/changes?after=${seen?.next ?? 0}&wait=${seen ? WAIT_SECONDS : 0}`);
      // After a restart or a reset the cursors begin anew, and nothing that was read before holds.
      const anew = !seen || !state.online || now.resets !== seen.resets;
      if (anew) forget();
      if (anew || now.network !== seen.network) {
        await loadPhones();
        await loadInbox();
      }
      if (anew || now.webhooks !== seen.webhooks) await loadHooks();
      seen = now;
      setOnline(true);
      await sleep(REFRESH_PAUSE_MS);
    } catch (error) {
      if (error instanceof ApiError) toast(error.message);
      setOnline(false);
      await sleep(RETRY_MS);
    }
  }
}

async function watchHealth() {
  for (;;) {
    if (!document.hidden) await loadHealth().catch(() => {});
    await sleep(HEALTH_EVERY_MS);
  }
}

function startAddPhone() {
  const dialog = byId("add-dialog");
  byId("add-phone").addEventListener("click", () => {
    byId("add-form").reset();
    text(byId("add-error"), "");
    dialog.showModal();
  });
  byId("add-cancel").addEventListener("click", () => dialog.close());
  byId("add-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const name = byId("add-name").value.trim();
    const number = byId("add-number").value.replace(/[\s().-]/g, "");
    try {
      const added = await post("/admin/phones", { ...(name && { name }), ...(number && { number }) });
      dialog.close();
      await loadPhones();
      location.hash = addressOf(added.number);
    } catch (error) {
      text(byId("add-error"), error.message);
    }
  });
}

onChange(draw);
startLists();
startConversation();
startDevices();
startWebhooks();
startHealth();
startAddPhone();
addEventListener("hashchange", () => {
  follow(location.hash);
  loadInbox().catch((error) => toast(error.message));
});
changed();
followChanges();
watchHealth();
