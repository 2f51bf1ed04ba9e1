// @ts-check
/** The list of datasets: add by file, path, hub or paste; remove with undo. */
import { del, post } from "../api.js";
import { $, $$, bar, el, fieldError, url } from "../dom.js";
import { followJob } from "../job.js";
import { fieldProblem, problemNote } from "../remedies.js";
import { busy, showProblem, toast } from "../shell.js";
import { makeList } from "../table.js";
import { sendFile } from "../upload.js";
import { bytes, t } from "../words.js";

const list = makeList($("#datasets"), { search: $("#find") });

/** @param {string} source */
const look = (source) => location.assign(url(`/datasets/-/add?source=${encodeURIComponent(source)}`));

/** @param {File[]} files */
async function take(files) {
  await Promise.all(files.map((file) => takeOne(file, files.length === 1)));
}

/** @param {File} file @param {boolean} alone */
async function takeOne(file, alone) {
  const progress = bar(0, file.size, file.name);
  const said = el("span", { class: "small muted" });
  const end = new AbortController();
  const cancel = el("button", { type: "button", class: "btn sm", onclick: () => end.abort() }, t("Cancel"));
  const line = el("div", { class: "upload" }, el("div", { class: "row" }, el("span", { class: "wrap" }, file.name), said, cancel), progress);
  $("#uploads").append(line);
  try {
    const told = await sendFile(file, { signal: end.signal, onProgress: (done, total, waiting) => {
      progress.value = done;
      const share = t("{done} of {total}", { done: bytes(done), total: bytes(total) });
      said.textContent = waiting ? t("Waiting for the connection…") : done === total ? t("Unpacking and checking…") : share;
    } });
    cancel.remove();
    said.textContent = told.left_out ? t("Skipped {n} other files in the archive.", { n: told.left_out }) : "";
    if (alone) look(told.source);
    else line.firstChild.append(el("a", { class: "btn sm", href: url(`/datasets/-/add?source=${told.source}`) }, t("Preview")));
  } catch (/** @type {any} */ problem) {
    if (problem.name === "AbortError") return line.remove();
    cancel.remove();
    progress.remove();
    line.append(problemNote(problem, () => takeOne(file, alone)));
  }
}

const file = $("#file");
file.addEventListener("change", () => {
  const chosen = [...file.files];
  file.value = "";
  if (chosen.length) take(chosen).catch(showProblem);
});
const drop = $("#drop");
for (const [name, over] of /** @type {[string, boolean][]} */ ([["dragenter", true], ["dragover", true], ["dragleave", false], ["drop", false]])) {
  drop.addEventListener(name, (/** @type {DragEvent} */ event) => {
    event.preventDefault();
    drop.classList.toggle("over", over);
    if (name === "drop") take([...(event.dataTransfer?.files ?? [])]).catch(showProblem);
  });
}

$("#path-form").addEventListener("submit", async (/** @type {SubmitEvent} */ event) => {
  event.preventDefault();
  const source = $("#path-form input").value.trim();
  fieldError("source", source ? "" : t("Enter a file, a folder or hf:owner/name."));
  if (!source) return;
  const button = $("#path-form button");
  try {
    if (!source.startsWith("hf:")) {
      await busy(button, post("/api/v1/datasets/propose", { source }));
      return look(source);
    }
    const { job } = await busy(button, post("/api/v1/datasets/bring", { source }));
    const place = el("div", { class: "upload" });
    $("#uploads").append(place);
    followJob(place, job, t("Downloading {name}…", { name: source }), () => look(source));
  } catch (/** @type {any} */ problem) {
    if (problem.detail === undefined) throw problem;
    fieldProblem("source", problem, () => $("#path-form").requestSubmit());
  }
});

$("#paste-form").addEventListener("submit", async (/** @type {SubmitEvent} */ event) => {
  event.preventDefault();
  const text = $("#paste-form textarea").value;
  fieldError("text", text.trim() ? "" : t("Paste some rows first."));
  if (!text.trim()) return;
  try {
    look((await busy($("#paste-form button"), post("/api/v1/datasets/paste", { text }))).source);
  } catch (/** @type {any} */ problem) {
    if (problem.detail === undefined) throw problem;
    fieldProblem("text", problem, () => $("#paste-form").requestSubmit());
  }
});

for (const button of $$("[data-remove]")) {
  button.addEventListener("confirmed", async () => {
    const name = button.dataset.remove;
    try {
      const gone = await del(`/api/v1/datasets/${name}`);
      const row = button.closest("tr");
      const before = row.nextSibling;
      const body = row.parentNode;
      row.remove();
      list.refresh();
      toast(t("{name} was removed.", { name }), { undo: async () => {
        await post("/api/v1/datasets/restore", { undo: gone.undo });
        body.insertBefore(row, before);
        list.refresh();
      } });
    } catch (problem) {
      showProblem(problem);
    }
  });
}
