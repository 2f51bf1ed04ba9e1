// @ts-check
/** Settings, Messages: what happens when a run ends. A test sends the saved settings. */
import { post, put } from "../api.js";
import { $, $$, el, fieldError } from "../dom.js";
import { busy, showProblem, toast } from "../shell.js";
import { joined, t } from "../words.js";

const form = $("#notify-form");
const NAMES = { webhook: t("Webhook"), email: t("E-mail command") };

/** Save the form; returns whether it was accepted. An error is shown under its field. */
async function save() {
  for (const field of $$("[data-field]", form)) fieldError(field.dataset.field, "");
  const seconds = Number($("[name=countdown_seconds]", form).value);
  if (!Number.isFinite(seconds)) return !fieldError("countdown_seconds", t("Enter the number of seconds."));
  /** @type {Record<string, unknown>} */
  const wanted = { webhook: $("[name=webhook]", form).value.trim(), countdown_seconds: seconds };
  for (const box of $$("[type=checkbox]:enabled", form)) wanted[box.name] = box.checked;
  try {
    const kept = await put("/api/v1/notify", wanted);
    $("[name=webhook]", form).value = kept.webhook;
    return true;
  } catch (given) {
    const problem = /** @type {import("../api.js").Problem} */ (given);
    const name = problem.params.field;
    if (!name || !fieldError(name, joined(problem.detail, problem.fix))) throw problem;
    $(`[name="${name}"]`, form).focus();
    return false;
  }
}

async function test() {
  if (!(await save())) return;
  const told = Object.entries(await post("/api/v1/notify/test"));
  const lines = told.map(([what, said]) =>
    el("p", { class: said.startsWith("failed") ? "err" : "" }, `${NAMES[/** @type {keyof typeof NAMES} */ (what)] ?? what}: ${said}`));
  $("#notify-answer").replaceChildren(...lines, ...(told.length ? [] : [el("p", {}, t("Everything is off, so nothing was sent."))]));
}

form.addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
  event.preventDefault();
  busy($("button[type=submit]", form), save()).then((taken) => taken && toast(t("Saved."), { seconds: 3 })).catch(showProblem);
});
$("#notify-test").addEventListener("click", () => busy($("#notify-test"), test()).catch(showProblem));
