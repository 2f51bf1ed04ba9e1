// @ts-check
/**
 * A job of the server, drawn where it was started.
 *
 *   followJob(place, id, title, (result) => …)    draws a bar and Cancel; calls back when it is done
 */
import { get, post } from "./api.js";
import { bar, el } from "./dom.js";
import { busy, showProblem } from "./shell.js";
import { joined, t } from "./words.js";

const LOOK_MS = 700;

/** @param {HTMLElement} place @param {string} id @param {string} title @param {(result: any) => void} done */
export async function followJob(place, id, title, done) {
  const progress = bar(null, 1, title);
  progress.removeAttribute("value");
  const said = el("span", { class: "small muted" });
  const cancel = el("button", { type: "button", class: "btn sm", "aria-label": `${t("Cancel")}: ${title}`, onclick: () => busy(cancel, post(`/api/v1/jobs/${id}/stop`)).catch(showProblem) }, t("Cancel"));
  place.replaceChildren(el("div", { class: "row" }, el("span", { class: "wrap" }, title), said, el("span", { class: "push" }, cancel)), progress);
  for (;;) {
    await new Promise((next) => setTimeout(next, LOOK_MS));
    const job = await get(`/api/v1/jobs/${id}`).catch((problem) => {
      if (problem.code === "offline") return { status: "running" };
      throw problem;
    });
    const told = job.progress ?? {};
    if (told.total) {
      progress.max = told.total;
      progress.value = told.done;
    }
    said.textContent = told.text || job.said || "";
    if (job.status === "done") return done(job.result ?? {});
    if (job.status === "stopped") return place.replaceChildren();
    if (["failed", "interrupted"].includes(job.status)) {
      place.replaceChildren(el("div", { class: "note bad", role: "alert" }, joined(title, job.reason, job.fix)));
      return;
    }
  }
}
