// @ts-check
/** Settings: each card is saved separately and confirms it; an error is shown under its field. */
import { del, get, post, put } from "../api.js";
import { $, $$, el, fieldError, url } from "../dom.js";
import { busy, setLanguage, setTheme, showProblem, toast } from "../shell.js";
import { joined, number, t } from "../words.js";

/** @param {string} id @param {() => Promise<any>} act */
function onSubmit(id, act) {
  const form = $(id);
  form.addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    busy($("button[type=submit]", form), act()).catch(showProblem);
  });
}

/**
 * Save one field; an error is shown under it.
 * @param {string} name the field
 * @param {() => Promise<any>} act
 */
async function save(name, act) {
  fieldError(name, "");
  try {
    await act();
    return true;
  } catch (given) {
    const problem = /** @type {import("../api.js").Problem} */ (given);
    if (problem.status === 0 || problem.status >= 500) throw problem;
    fieldError(name, joined(problem.detail, problem.fix));
    $(`[name="${name}"]`).focus();
    return false;
  }
}

for (const radio of $$("[name=language]")) radio.addEventListener("change", () => setLanguage(radio.value));
for (const radio of $$("[name=theme]")) radio.addEventListener("change", () => setTheme(radio.value));

onSubmit("#sources-form", async () => {
  const changed = $$("#sources-form input").filter((box) => !box.disabled && box.value !== box.defaultValue);
  for (const box of changed) {
    if (!(await save(box.name, () => put(`/api/v1/settings/sources/${box.name}`, { value: box.value })))) return;
    if (box.type === "password") {
      box.value = "";
      box.placeholder = t("saved");
    } else {
      box.defaultValue = box.value;
    }
  }
  toast(t(changed.length ? "Saved." : "No changes made."), { seconds: 3 });
  if (!changed.length) return;
  const hub = await get("/api/v1/machine/hub");
  $("#hub-answer").textContent = hub.reachable
    ? t("{host} responds in {n} ms.", { host: hub.host, n: number(hub.milliseconds) })
    : t("{host} did not respond.", { host: hub.host });
});
for (const button of $$("[data-forget]")) {
  button.addEventListener("confirmed", () =>
    put(`/api/v1/settings/sources/${button.dataset.forget}`, { value: "" }).then(() => location.reload()).catch(showProblem));
}

onSubmit("#roots-form", async () => {
  const folders = $("#f-roots").value.split("\n").map((/** @type {string} */ line) => line.trim()).filter(Boolean);
  if (await save("roots", () => put("/api/v1/settings/roots", { folders }))) toast(t("Saved."), { seconds: 3 });
});

onSubmit("#limits-form", async () => {
  const size = Math.round(Number($("#f-upload").value) * 2 ** 30);
  if (!(size >= 2 ** 20)) {
    fieldError("upload", t("Enter the size in GiB, 1 or more."));
    return;
  }
  if (await save("upload", () => put("/api/v1/settings/limits", { upload_bytes: size }))) toast(t("Saved."), { seconds: 3 });
});

$("#renew").addEventListener("confirmed", async () => {
  try {
    const { token } = await post("/api/v1/token/renew");
    show("#new-token", token);
  } catch (problem) {
    showProblem(problem);
  }
});
$("#log-out").addEventListener("click", () => del("/api/v1/session").then(() => location.assign(url("/login"))).catch(showProblem));

/** @param {string} id @param {string} secret shown only once */
function show(id, secret) {
  $("pre", $(id)).textContent = secret;
  $(id).hidden = false;
  $(id).scrollIntoView({ block: "nearest" });
}

const SCOPES = { chat: ["chat"], jobs: ["chat", "jobs"], admin: ["admin"] };

onSubmit("#key-form", async () => {
  const name = $("#f-key-name").value.trim();
  const scope = /** @type {keyof typeof SCOPES} */ ($("#f-key-scope").value);
  if (!name) {
    fieldError("key-name", t("Enter a name for the key."));
    return;
  }
  /** @type {Record<string, number>} */
  const limits = {};
  for (const [field, key] of [["requests", "requests_per_minute"], ["tokens", "tokens_per_minute"], ["parallel", "parallel"]]) {
    const text = $(`#f-key-${field}`).value.trim();
    if (!/^[0-9]{0,9}$/.test(text)) {
      fieldError(`key-${field}`, t("Enter a whole number, or leave it empty."));
      return;
    }
    if (text) limits[key] = Number(text);
  }
  const models = $("#f-key-models").value.split(",").map((/** @type {string} */ word) => word.trim()).filter(Boolean);
  const days = $("#f-key-days").value;
  await save("key-name", async () => {
    const made = await post("/api/v1/keys", { name, scopes: SCOPES[scope], models, expires_in_days: days ? Number(days) : null, ...limits });
    await reloadKeys();
    $("#f-key-name").value = "";
    show("#new-key", made.key);
  });
});

/** Render the list as the server does. */
async function reloadKeys() {
  const answer = await fetch(location.pathname, { credentials: "same-origin" });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  $("#keys-list").replaceChildren(...$("#keys-list", page).childNodes);
}
$("#keys-list").addEventListener("confirmed", async (/** @type {Event} */ event) => {
  const button = /** @type {HTMLElement} */ (event.target);
  try {
    await del(`/api/v1/keys/${button.dataset.keyId}`);
    await reloadKeys();
    toast(t("Key revoked."));
  } catch (problem) {
    showProblem(problem);
  }
});

// Add sections from other modules to the list at the side.
for (const section of $$("#sections > .card[id]")) {
  if ($$(`#toc a[href="#${section.id}"]`).length) continue;
  const item = el("li", {}, el("a", { href: `#${section.id}` }, section.getAttribute("aria-label")));
  $("#toc ul").insertBefore(item, $('#toc a[href="#limits"]').parentElement);
}
