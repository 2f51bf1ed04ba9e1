// @ts-check
/**
 * One line chart using uPlot: theme colours, dots, zoom, a tooltip, keyboard control, and a text
 * alternative for screen readers.
 *
 *   const chart = makeChart(element, {title, series: [{label, color: "c1", width: 2}], format})
 *   chart.set({x, ys, xLabel, markers})      drawn at most twice a second, only while visible
 *   chart.options({log: true, clip: true})   chart.png() -> Promise<Blob>
 *
 * A series is {label, color, width?, faint?, dots?}; a null y is a gap, an undefined y means that
 * the series has no point there. Drag zooms, double click resets, ← and → move a cursor.
 */
import { announce, el } from "./dom.js";
import { duration, number, t } from "./words.js";

const REDRAW_MS = 500;
const TINY = 1e-3;

/**
 * @typedef {{label: string, color: string, width?: number, faint?: boolean, dots?: boolean}} Series
 * @typedef {(number | null | undefined)[]} Column
 * @typedef {{x: number[], ys: Column[], xLabel: string, markers?: number[], isTime?: boolean, end?: number}} Points end: where the x axis of a single point ends
 */

/** As many digits as tell the values apart, for the figures of an axis. @param {number[]} ticks @param {(value: number) => string} format */
export function tickTexts(ticks, format) {
  const texts = ticks.map(format);
  if (format !== shortNumber || new Set(texts).size === ticks.length) return texts;
  const step = Math.min(...ticks.slice(1).map((tick, i) => Math.abs(tick - ticks[i])).filter(Boolean));
  return ticks.map((tick) => tick.toFixed(Math.min(12, Math.max(0, Math.ceil(-Math.log10(step) - 1e-9)))));
}

/** @param {number} value */
export function shortNumber(value) {
  if (value === 0) return "0";
  if (Math.abs(value) < TINY) return value.toExponential(1).replace(".0e", "e");
  if (Math.abs(value) >= 10_000) return Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 }).format(value);
  return String(Number(value.toPrecision(4)));
}

/** @param {string} name a CSS variable */
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim() || "#888";

/**
 * @param {HTMLElement} element
 * @param {{title: string, series: Series[], format?: (value: number) => string}} about
 */
export function makeChart(element, { title, series, format = shortNumber }) {
  /** @type {any} */
  let plot = null;
  /** @type {Points} */
  let points = { x: [], ys: series.map(() => []), xLabel: "" };
  let wanted = { log: false, clip: false };
  let zoomed = false;
  let stale = false;
  let drawn = 0;
  let timer = 0;
  let seen = false;
  const tip = el("div", { class: "tip", hidden: true });
  element.setAttribute("role", "img");
  element.setAttribute("aria-label", title);
  element.tabIndex = 0;

  function build() {
    plot?.destroy();
    const grid = { stroke: color("line"), width: 1 };
    const axis = { stroke: color("muted"), grid, ticks: { show: false }, font: `12px ${getComputedStyle(element).fontFamily}` };
    const across = (/** @type {number} */ v) => (points.isTime ? duration(v) : shortNumber(v));
    // @ts-ignore: uPlot is the vendored script before this module
    plot = new uPlot({
      width: element.clientWidth || 300,
      height: element.clientHeight || 130,
      legend: { show: false },
      cursor: { y: false, points: { size: 7 }, drag: { x: true, y: false } },
      scales: { x: { time: false }, y: { distr: wanted.log ? 3 : 1, range } },
      axes: [
        { ...axis, values: (/** @type {any} */ _, /** @type {number[]} */ ticks) => ticks.map(across), space: points.isTime ? 90 : 60, size: 28 },
        { ...axis, values: (/** @type {any} */ _, /** @type {number[]} */ ticks) => (ticks.includes(/** @type {any} */ (null)) ? ticks.map((v) => (v === null ? "" : format(v))) : tickTexts(ticks, format)), size: 56 },
      ],
      series: [{}, ...series.map((line) => ({
        label: line.label,
        stroke: color(line.color) + (line.faint ? "55" : ""),
        width: line.dots ? 1 : line.width ?? 1.5,
        points: line.dots ? { show: true, size: 8, fill: color(line.color) } : { show: points.x.length < 3 },
        spanGaps: Boolean(line.dots),
      }))],
      hooks: {
        setSelect: [(/** @type {any} */ u) => { if (u.select.width > 0) zoomed = true; }],
        setCursor: [showTip],
        draw: [drawMarkers, (/** @type {any} */ u) => { element.dataset.to = String(u.scales.x.max); }],
      },
    }, data(), element);
    widen();
    plot.over.append(tip);
    plot.over.addEventListener("dblclick", () => { zoomed = false; });
  }

  const data = () => [points.x, ...points.ys];

  /** Gives the x axis of a single point the whole run, or a little room, where uPlot draws 0 to 100. */
  function widen() {
    const [at, ...others] = points.x;
    if (at === undefined || others.length) return;
    plot.setScale("x", { min: at, max: points.end && points.end > at ? points.end : at + 1 });
  }

  /** @param {any} _ @param {number | null} low @param {number | null} high */
  function range(_, low, high) {
    if (low === null || high === null) return wanted.log ? [0.1, 10] : [0, 1];
    if (wanted.clip) [low, high] = withoutOutliers(low, high);
    // @ts-ignore
    if (wanted.log) return uPlot.rangeLog(Math.max(low, 1e-12), Math.max(high, 1e-12), 10, false);
    const room = (high - low || Math.abs(high) || 1) * 0.06;
    return [low >= 0 && low - room < 0 ? 0 : low - room, high + room];
  }

  /** @param {number} low @param {number} high */
  function withoutOutliers(low, high) {
    const values = points.ys.flatMap((ys) => /** @type {number[]} */ (ys.filter((v) => v !== null && v !== undefined)));
    values.sort((a, b) => a - b);
    if (values.length < 20) return [low, high];
    return [Math.max(low, values[Math.floor(values.length * 0.01)]), Math.min(high, values[Math.ceil(values.length * 0.98) - 1])];
  }

  /** @param {any} u */
  function drawMarkers(u) {
    const { ctx, bbox } = u;
    ctx.save();
    ctx.strokeStyle = color("line2");
    ctx.setLineDash([3, 4]);
    for (const x of points.markers ?? []) {
      const at = u.valToPos(x, "x", true);
      if (at < bbox.left || at > bbox.left + bbox.width) continue;
      ctx.beginPath();
      ctx.moveTo(at, bbox.top);
      ctx.lineTo(at, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  }

  /** @param {any} u */
  function showTip(u) {
    const { idx, left } = u.cursor;
    tip.hidden = idx === null || idx === undefined || left < 0;
    if (tip.hidden) return;
    tip.replaceChildren(...told(idx).map((text) => el("div", {}, text)));
    const right = left > u.over.clientWidth - 150;
    tip.style.left = right ? "" : `${left + 10}px`;
    tip.style.right = right ? `${u.over.clientWidth - left + 10}px` : "";
    tip.style.top = "6px";
  }

  /** @param {number} i */
  function told(i) {
    const at = points.isTime ? duration(points.x[i]) : number(Number(points.x[i].toPrecision(6)));
    const lines = [`${points.xLabel} ${at}`];
    series.forEach((line, s) => {
      const value = points.ys[s]?.[i];
      if (value !== null && value !== undefined) lines.push(`${line.label} ${Number(value.toPrecision(5))}`);
    });
    return lines;
  }

  function summary() {
    const main = series.findIndex((line) => !line.faint);
    const there = points.x.map((x, i) => ({ x, y: points.ys[main]?.[i] })).filter(({ y }) => y !== null && y !== undefined);
    if (!there.length) return `${title}. ${t("No points yet.")}`;
    const [first, last] = [there[0], there[there.length - 1]];
    const place = (/** @type {number} */ x) => (points.isTime ? duration(x) : Number.isInteger(x) ? number(x) : shortNumber(x));
    return t("{title}: {from} to {to}, from {a} to {b}.", { title, from: `${points.xLabel} ${place(first.x)}`, to: place(last.x), a: format(/** @type {number} */ (first.y)), b: format(/** @type {number} */ (last.y)) });
  }

  function draw() {
    timer = 0;
    if (!stale || !seen || document.hidden) return;
    stale = false;
    drawn = performance.now();
    element.setAttribute("aria-label", summary());
    if (!plot) return build();
    plot.setData(data(), !zoomed);
    if (!zoomed) widen();
    if (zoomed) plot.redraw();
  }

  function later() {
    if (!timer) timer = window.setTimeout(draw, Math.max(0, REDRAW_MS - (performance.now() - drawn)));
  }

  function anew() {
    if (!plot) return;
    plot.destroy();
    plot = null;
    stale = true;
    draw();
  }

  new IntersectionObserver((entries) => {
    seen = entries[entries.length - 1].isIntersecting;
    if (seen) later();
  }).observe(element);
  new ResizeObserver(() => {
    if (plot && element.clientWidth) plot.setSize({ width: element.clientWidth, height: element.clientHeight });
  }).observe(element);
  document.addEventListener("visibilitychange", later);
  document.addEventListener("tunery:theme", anew);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", anew);
  element.addEventListener("keydown", (event) => {
    const way = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (!way || !plot || !points.x.length) return;
    event.preventDefault();
    const stride = event.shiftKey ? 20 : 1;
    const next = Math.min(points.x.length - 1, Math.max(0, (plot.cursor.idx ?? -1) + way * stride));
    plot.setCursor({ left: plot.valToPos(points.x[next], "x"), top: 10 });
    announce(told(next).join(", "));
  });
  element.addEventListener("keyup", (event) => {
    if (event.key === "Escape" && plot) plot.setCursor({ left: -10, top: -10 });
  });

  return {
    /** @param {Points} given */
    set(given) {
      const other = given.xLabel !== points.xLabel;
      points = given;
      stale = true;
      if (other) {
        zoomed = false;
        plot?.destroy();
        plot = null;
      }
      later();
    },
    /** @param {Partial<typeof wanted>} given */
    options(given) {
      wanted = { ...wanted, ...given };
      anew();
    },
    /** @returns {Promise<Blob>} */
    png() {
      const made = document.createElement("canvas");
      made.width = plot.ctx.canvas.width;
      made.height = plot.ctx.canvas.height;
      const ink = /** @type {CanvasRenderingContext2D} */ (made.getContext("2d"));
      ink.fillStyle = color("panel");
      ink.fillRect(0, 0, made.width, made.height);
      ink.drawImage(plot.ctx.canvas, 0, 0);
      return new Promise((done) => made.toBlob((blob) => done(/** @type {Blob} */ (blob)), "image/png"));
    },
    points: () => points,
  };
}

/**
 * Smooth a curve exponentially: `weight` times the old value plus 1 - weight times the new; gaps stay gaps.
 * @param {Column} values @param {number} weight 0: unchanged
 * @returns {Column}
 */
export function smooth(values, weight) {
  let mean = 0;
  let mass = 0;
  return values.map((value) => {
    if (value === null || value === undefined) return value;
    mean = weight * mean + (1 - weight) * value;
    mass = weight * mass + (1 - weight);
    return mean / mass;
  });
}

/**
 * The usual weight for `smooth`: a curve is averaged over a twentieth of its points at most, so that
 * the end of a short one is drawn where its last value is.
 * @param {number} points how many the curve has
 */
export const usualSmoothing = (points) => Math.min(0.8, Math.max(0, 1 - 20 / Math.max(1, points)));

/** Linear interpolation between known points. @param {number[]} from @param {number[]} to @param {number} x */
export function between(from, to, x) {
  let low = 0;
  let high = from.length - 1;
  if (high < 0) return x;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (from[middle] <= x) low = middle;
    else high = middle;
  }
  if (x <= from[low]) return to[low];
  if (x >= from[high]) return to[high];
  return to[low] + ((to[high] - to[low]) * (x - from[low])) / (from[high] - from[low]);
}
