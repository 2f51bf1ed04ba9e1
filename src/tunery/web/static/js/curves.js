// @ts-check
/**
 * The curves of one run in the browser: fetched downsampled, then updated by the live channel.
 *
 *   const curves = new Curves("NAME")
 *   await curves.load()                      everything; curves.cursor is where updates start
 *   await curves.take(message)               a message of topic run:NAME; true if a curve changed
 *   curves.points("loss", "tokens")          {x, value, mean} over any axis
 *   curves.heldOut("loss", "tokens")        [x, values] of the evaluations
 *   curves.measures                          what the run declares: {name, label, unit, chart}
 *
 * A step that was already seen is dropped, a `cut` removes steps, and on `behind` the rest is fetched:
 * no gaps and no duplicates, whatever happens to the connection.
 */
import { get } from "./api.js";
import { between, shortNumber } from "./chart.js";

export const AXES = ["epoch", "tokens", "time"];
const MOST_POINTS = 4000;
const CATCH_UP_POINTS = 400;

/**
 * @typedef {{step: number[], value: (number | null)[], mean: (number | null)[]}} Curve
 * @typedef {{name: string, label: string, unit: string, better: string, chart: boolean}} Measure
 */

/** How values of a measure are formatted. @param {Measure | undefined} measure */
export const formatOf = (measure) => (measure?.unit === "%" ? (/** @type {number} */ v) => `${shortNumber(100 * v)} %` : shortNumber);

export class Curves {
  /** @param {string} name */
  constructor(name) {
    this.path = `/api/v1/runs/${encodeURIComponent(name)}/metrics`;
    this.cursor = "";
    this.last = 0;
    /** @type {Record<string, Curve>} */
    this.series = {};
    /** @type {Record<string, number[]>} */
    this.axes = {};
    /** @type {Measure[]} */
    this.measures = [];
    /** @type {{step: number, loss: number | null, measures: Record<string, number | null>, best: boolean}[]} */
    this.evals = [];
    /** @type {number[]} */
    this.checkpoints = [];
    this.clear();
  }

  clear() {
    this.last = 0;
    this.series = {};
    this.measures = [];
    this.axes = { step: [], epoch: [], tokens: [], time: [] };
    this.evals = [];
    this.checkpoints = [];
  }

  /** @param {number} [points] */
  async load(points = 2000) {
    const answer = await get(this.path, { max_points: points });
    this.clear();
    this.cursor = answer.cursor;
    this.add(answer);
  }

  /** @param {any} answer response of the metrics route */
  add(answer) {
    for (const [key, more] of Object.entries(answer.series)) this.append(key, more.step, more.value, more.mean ?? more.value);
    answer.axes.step.forEach((/** @type {number} */ step, /** @type {number} */ i) => this.mark(step, answer.axes, i));
    this.evals = answer.evals;
    this.measures = answer.measures;
    this.checkpoints = answer.checkpoints;
    this.last = Math.max(this.last, answer.last);
  }

  /** @param {string} key @param {number[]} steps @param {(number | null)[]} values @param {(number | null)[]} means */
  append(key, steps, values, means) {
    const curve = (this.series[key] ??= { step: [], value: [], mean: [] });
    steps.forEach((step, i) => {
      if (curve.step.length && step <= curve.step[curve.step.length - 1]) return;
      curve.step.push(step);
      curve.value.push(values[i]);
      curve.mean.push(means[i]);
    });
  }

  /** @param {number} step @param {Record<string, number[]>} from @param {number} i */
  mark(step, from, i) {
    const known = this.axes.step;
    if (known.length && step <= known[known.length - 1]) return;
    known.push(step);
    for (const axis of AXES) this.axes[axis].push(from[axis][i]);
  }

  /** @param {any} message @returns {Promise<boolean>} whether a curve changed */
  async take(message) {
    switch (message.kind) {
      case "steps": return this.takeSteps(message);
      case "behind":
        if (message.last <= this.last) return false;
        this.add(await get(this.path, { after: this.last, max_points: CATCH_UP_POINTS }));
        return true;
      case "reset":
        await this.load();
        return true;
      case "cut":
        this.cut(message.step);
        return true;
      case "event": return await this.takeEvent(message.event);
      default: return false;
    }
  }

  /** @param {any} message */
  async takeSteps(message) {
    const first = message.step.findIndex((/** @type {number} */ step) => step > this.last);
    if (first < 0) return false;
    const steps = message.step.slice(first);
    for (const key of message.keys) {
      if (message[key].some((/** @type {number | null} */ v) => v !== null)) this.append(key, steps, message[key].slice(first), message[key].slice(first));
    }
    steps.forEach((/** @type {number} */ step, /** @type {number} */ i) => this.mark(step, message, first + i));
    this.last = steps[steps.length - 1];
    if ((this.series.loss?.step.length ?? 0) > MOST_POINTS) await this.load();
    return true;
  }

  /** @param {any} event */
  async takeEvent(event) {
    const known = this.measures.map(({ name }) => name);
    if (event.type === "plan" && event.measures?.some((/** @type {Measure} */ { name }) => !known.includes(name))) {
      await this.load(); // labels the run's measures in the language of the page
      return true;
    }
    if (event.type === "eval") {
      const loss = typeof event.loss === "number" ? event.loss : null;
      this.evals = [...this.evals.filter(({ step }) => step < event.step), { step: event.step, loss, measures: event.measures ?? {}, best: Boolean(event.best) }];
      return true;
    }
    if (event.type !== "checkpoint") return false;
    if (!this.checkpoints.includes(event.step)) this.checkpoints.push(event.step);
    return true;
  }

  /** @param {number} step */
  cut(step) {
    for (const curve of Object.values(this.series)) {
      const keep = curve.step.findIndex((s) => s > step);
      if (keep >= 0) for (const column of Object.values(curve)) column.length = keep;
    }
    const keep = this.axes.step.findIndex((s) => s > step);
    if (keep >= 0) for (const column of Object.values(this.axes)) column.length = keep;
    this.evals = this.evals.filter((e) => e.step <= step);
    this.checkpoints = this.checkpoints.filter((s) => s <= step);
    this.last = Math.min(this.last, step);
  }

  /** @param {string} axis @param {number} step */
  across(axis, step) {
    return axis === "step" ? step : between(this.axes.step, this.axes[axis], step);
  }

  /** @param {string} key @param {string} axis */
  points(key, axis) {
    const { step, value, mean } = this.series[key] ?? { step: [], value: [], mean: [] };
    return { x: step.map((s) => this.across(axis, s)), value, mean };
  }

  /** @param {string} name a measure @param {string} axis @returns {[number[], number[]]} */
  heldOut(name, axis) {
    const found = this.evals.map((one) => ({ step: one.step, value: name === "loss" ? one.loss : one.measures[name] }))
      .filter(({ value }) => typeof value === "number");
    return [found.map(({ step }) => this.across(axis, step)), found.map(({ value }) => /** @type {number} */ (value))];
  }
}
