// @ts-check
/** Start: checks the hub after loading, hides the steps, copies the report, follows runs. */
import { get, put } from "../api.js";
import { $, badge, el, url } from "../dom.js";
import { subscribe } from "../live.js";
import { busy, copy, showProblem, shownStatus, statusWord } from "../shell.js";
import { duration, number, t } from "../words.js";

const hub = document.getElementById("hub");

async function askHub() {
  if (!hub) return;
  const found = await get("/api/v1/machine/hub");
  $("#hub-note").replaceChildren();
  if (found.offline) {
    hub.textContent = t("offline (as configured)");
  } else if (found.reachable) {
    hub.textContent = t("{ms} ms", { ms: number(found.milliseconds) });
  } else {
    hub.textContent = t("no response");
    $("#hub-note").append(el("div", { class: "note warn" },
      t("{hub} did not respond within {n} s. Downloaded models still work.", { hub: found.host, n: found.timeout_seconds }),
      el("div", { class: "actions" },
        el("button", { type: "button", class: "btn sm", onclick: () => askHub().catch(showProblem) }, t("Test again")),
        el("a", { class: "btn sm", href: url("/settings#sources") }, t("Change source")))));
  }
}

/** @param {boolean} hidden */
async function hide(hidden) {
  await put("/api/v1/machine/first-steps", { hidden });
  location.reload();
}

askHub().catch(showProblem);
document.getElementById("hide-steps")?.addEventListener("click", () => hide(true).catch(showProblem));
document.getElementById("show-steps")?.addEventListener("click", () => hide(false).catch(showProblem));
$("#report").addEventListener("click", async () => {
  try {
    copy((await busy($("#report"), get("/api/v1/machine/report"))).text);
  } catch (problem) {
    showProblem(problem);
  }
});

subscribe("runs", "", (message) => {
  for (const run of message.items ?? []) {
    const row = document.querySelector(`tr[data-run="${CSS.escape(run.name)}"]`);
    if (!row) continue;
    $("[data-status]", row).replaceChildren(badge(shownStatus(run), statusWord(shownStatus(run)), run.reason));
    $("[data-loss]", row).textContent = number(run.loss, 3);
    $("[data-time]", row).textContent = duration(run.duration_seconds);
  }
});
