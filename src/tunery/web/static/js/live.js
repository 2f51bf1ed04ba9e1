// @ts-check
/**
 * Live updates from the server.
 *
 *   const stop = subscribe("run:NAME", cursor, (message) => …)   cursor "" returns everything
 *   onState((state) => …)     "connecting" | "live" | "polling" | "lost" | "refused"
 *
 * One shared worker serves all tabs. Without one, each page listens while it is visible.
 * Messages arrive in order. After a reconnect nothing is missing; messages with a `seq` arrive once,
 * others (summaries of state) may be repeated.
 */
import { asset, url } from "./dom.js";
import { Stream } from "./stream.js";

/**
 * @typedef {import("./stream.js").Message} Message
 * @typedef {import("./stream.js").State} State
 * @typedef {{topic: string, after: string, seq: number, tell: (message: Message) => void}} Listener
 */

const HERE_MS = 45_000;
const base = url("/api/v1/events");
/** @type {Set<Listener>} */
const listeners = new Set();
/** @type {Set<(state: State) => void>} */
const watchers = new Set();
/** @type {State} */
let current = "connecting";
/** @type {{subscribe(topic: string, after: string): void, unsubscribe(topic: string): void} | null} */
let channel = null;

/**
 * @param {string} topic
 * @param {string} after
 * @param {(message: Message) => void} tell
 * @returns {() => void} unsubscribes
 */
export function subscribe(topic, after, tell) {
  const listener = { topic, after, seq: -1, tell };
  listeners.add(listener);
  channel ??= shared() ?? own();
  channel.subscribe(topic, after);
  return () => {
    listeners.delete(listener);
    if (![...listeners].some((other) => other.topic === topic)) channel?.unsubscribe(topic);
  };
}

/** @param {(state: State) => void} tell called immediately and on each change */
export function onState(tell) {
  watchers.add(tell);
  tell(current);
}

/** @param {Message} message */
function deliver(message) {
  for (const listener of listeners) {
    if (listener.topic !== message.topic) continue;
    if (typeof message.seq === "number") {
      if (message.seq <= listener.seq) continue;
      listener.seq = message.seq;
    }
    listener.tell(message);
  }
}

/** @param {State} state */
function changed(state) {
  if (state === current) return;
  current = state;
  for (const tell of watchers) tell(state);
}

/** This page's connection to the shared worker; null if shared workers are not supported. */
function shared() {
  if (typeof SharedWorker === "undefined") return null;
  let worker;
  try {
    worker = new SharedWorker(`${asset("js/live-worker.js")}?base=${encodeURIComponent(base)}`, { type: "module", name: `tunery ${base}` });
  } catch {
    return null;
  }
  const port = worker.port;
  const send = (/** @type {any} */ order) => port.postMessage(order);
  port.onmessage = ({ data }) => (data.message ? deliver(data.message) : changed(data.state));
  worker.onerror = () => {
    channel = own();
    for (const { topic, after } of listeners) channel.subscribe(topic, after);
  };
  setInterval(() => send({ do: "here" }), HERE_MS);
  addEventListener("pagehide", () => send({ do: "bye" }));
  addEventListener("pageshow", (event) => {
    if (event.persisted) for (const { topic, after } of listeners) send({ do: "subscribe", topic, after });
  });
  return {
    subscribe: (/** @type {string} */ topic, /** @type {string} */ after) => send({ do: "subscribe", topic, after }),
    unsubscribe: (/** @type {string} */ topic) => send({ do: "unsubscribe", topic }),
  };
}

/** A connection for this page alone, closed while the page is hidden. */
function own() {
  const stream = new Stream(base, deliver, changed);
  document.addEventListener("visibilitychange", () => (document.hidden ? stream.stop() : stream.restart()));
  return {
    subscribe: (/** @type {string} */ topic, /** @type {string} */ after) => stream.add(topic, after),
    unsubscribe: (/** @type {string} */ topic) => stream.remove(topic),
  };
}
