// @ts-check
/** Two dialogs of the chat: earlier conversations, and tables of prompt sets. */
import { $, bar, el, url } from "./dom.js";
import { get } from "./api.js";
import { lines } from "./ndjson.js";
import { showProblem, toast } from "./shell.js";
import { joined, t } from "./words.js";

/** @param {Record<string, (path: string, body?: any) => Promise<any>>} api */
export async function showChats(api) {
  const list = $("#chat-list");
  const dialog = $("#chats");
  if (!dialog.open) dialog.showModal();
  const found = await api.get("/api/v1/chats").catch(showProblem);
  if (!found) return;
  list.replaceChildren(...(found.length ? found.map((/** @type {any} */ chat) => line(chat, api)) : [el("li", { class: "muted" }, t("No earlier chats."))]));
}

/** @param {any} chat @param {Record<string, (path: string, body?: any) => Promise<any>>} api */
function line(chat, api) {
  const path = `/api/v1/chats/${chat.id}`;
  const row = el("li", {},
    el("a", { href: url(`/chat?id=${chat.id}`) }, chat.title || t("Untitled"), el("span", { class: "muted small" }, ` · ${chat.columns.join(" · ")}`)),
    el("button", { type: "button", class: "btn ghost sm", onclick: () => rename(row, chat, api) }, t("Rename")),
    el("a", { class: "btn ghost sm", href: url(`${path}/export`), download: "" }, t("Download")),
    el("button", { type: "button", class: "btn ghost sm danger", onclick: async () => {
      await api.del(path);
      row.remove();
      toast(t("Deleted."), { undo: async () => {
        await api.post(`${path}/restore`);
        await showChats(api);
      } });
    } }, t("Delete")));
  return row;
}

/** @param {HTMLElement} row @param {any} chat @param {Record<string, (path: string, body?: any) => Promise<any>>} api */
function rename(row, chat, api) {
  const box = el("input", { type: "text", value: chat.title, "aria-label": t("Name") });
  const save = async () => {
    await api.patch(`/api/v1/chats/${chat.id}`, { title: box.value });
    await showChats(api);
  };
  row.replaceChildren(box,
    el("button", { type: "button", class: "btn sm pri", onclick: save }, t("Save")),
    el("button", { type: "button", class: "btn sm", onclick: () => showChats(api) }, t("Cancel")));
  box.focus();
}

/** @param {HTMLElement} button @param {Record<string, any>} settings */
export async function askSet(button, settings) {
  const sets = await get("/api/v1/chats/prompt-sets");
  const { prompts } = sets.find((/** @type {any} */ one) => one.name === button.dataset.set);
  const cells = prompts.map(() => Object.fromEntries(settings.columns.map((/** @type {string} */ name) => [name, el("td", {}, "")])));
  const progress = bar(0, prompts.length, t("Prompt"));
  $("#set-table").replaceChildren(progress, el("table", {},
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, t("Prompt")), ...settings.columns.map((/** @type {string} */ name) => el("th", { scope: "col" }, name)))),
    el("tbody", {}, ...prompts.map((/** @type {string} */ prompt, /** @type {number} */ i) => el("tr", {}, el("th", { scope: "row" }, prompt), ...Object.values(cells[i]))))));
  const stop = new AbortController();
  $("#sets").addEventListener("close", () => stop.abort(), { once: true });
  for (const [i, prompt] of prompts.entries()) {
    await lines("/api/v1/chats/once", { text: prompt, settings }, (event) => {
      const cell = cells[i][event.column];
      if (event.kind === "text") cell.textContent += event.text;
      if (event.kind === "error") cell.textContent = joined(event.detail, event.fix);
    }, stop.signal).catch((problem) => {
      if (!(problem instanceof DOMException)) throw problem;
    });
    if (stop.signal.aborted) return;
    progress.value = i + 1;
  }
}
