// @ts-check
/** Compare runs: one chart with all of them, over an axis on which they are comparable. */
import { makeChart, smooth, usualSmoothing } from "../chart.js";
import { Curves, formatOf } from "../curves.js";
import { $, badge, data, recall, remember } from "../dom.js";
import { subscribe } from "../live.js";
import { copy, showProblem, statusWord } from "../shell.js";
import { t } from "../words.js";

/** @type {{name: string, title: string, baseline: boolean}[]} */
const runs = data("compared");
const all = runs.map(({ name }) => new Curves(name));
const LABELS = { step: t("Step"), epoch: t("Epoch"), tokens: t("Tokens"), time: t("Time") };
/** @type {{axis: string, smoothing: number | null}} smoothing: null until it is chosen */
const kept = { axis: "epoch", smoothing: null, ...(recall("compare") ?? {}) };
const chart = makeChart($("#chart"), {
  title: t("Curves of the runs"),
  format: (value) => formatOf(all.flatMap(({ measures }) => measures).find(({ name }) => name === $("#what").value.replace(/^eval:/, "")))(value),
  series: runs.map(({ title, baseline }, i) => ({ label: title, color: baseline ? "edge" : `c${i + 1}`, width: baseline ? 4 : 2 })),
});

function draw() {
  const what = $("#what").value;
  const longest = Math.max(...all.map((curves) => curves.points("loss", kept.axis).mean.length));
  const smoothing = kept.smoothing ?? usualSmoothing(longest);
  $("#smoothing").value = smoothing;
  const tables = all.map((curves) => {
    if (what.startsWith("eval:")) return curves.heldOut(what.slice(5), kept.axis);
    const { x, mean } = curves.points(what, kept.axis);
    return [x, smooth(mean, smoothing)];
  });
  // @ts-ignore: uPlot is the vendored script
  const [x, ...ys] = uPlot.join(tables);
  chart.set({ x, ys, xLabel: LABELS[/** @type {"step"} */ (kept.axis)], isTime: kept.axis === "time" });
}

/** @param {Record<string, any>} change */
function prefer(change) {
  Object.assign(kept, change);
  remember("compare", kept);
  draw();
}

$("#axis").value = kept.axis;
$("#axis").addEventListener("change", () => prefer({ axis: $("#axis").value }));
$("#smoothing").addEventListener("input", () => prefer({ smoothing: Number($("#smoothing").value) }));
$("#what").addEventListener("change", draw);
$("#log-scale").addEventListener("change", () => chart.options({ log: $("#log-scale").checked }));
$("#share").addEventListener("click", () => copy(location.href));

Promise.all(all.map((curves) => curves.load(1000))).then(() => {
  draw();
  all.forEach((curves, i) => {
    let queue = Promise.resolve();
    subscribe(`run:${runs[i].name}`, curves.cursor, (message) => {
      if (message.kind === "state") {
        const { status, reason } = message.run;
        $(`[data-status="${CSS.escape(runs[i].name)}"]`).replaceChildren(...(status === "finished" ? [] : [badge(status, statusWord(status), reason)]));
      }
      queue = queue.then(async () => { if (await curves.take(message)) draw(); }).catch(showProblem);
    });
  });
}, showProblem);
