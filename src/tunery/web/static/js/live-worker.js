// @ts-check
/**
 * The shared worker: one connection to the server for all tabs of this browser.
 *
 * From a page: {do: "subscribe", topic, after} · {do: "unsubscribe", topic} · {do: "here"} · {do: "bye"}.
 * To a page: {message} · {state}. If a second page joins a topic at an older cursor, the topic is
 * read again from there and the other pages get messages twice; live.js drops known seq numbers.
 */
import { Stream } from "./stream.js";

const GONE_MS = 180_000;
const base = new URL(self.location.href).searchParams.get("base") ?? "/api/v1/events";
/** @type {Map<MessagePort, {topics: Set<string>, heard: number}>} */
const pages = new Map();
/** @type {import("./stream.js").State} */
let state = "connecting";

const stream = new Stream(
  base,
  (message) => {
    for (const [port, page] of pages) if (page.topics.has(message.topic)) port.postMessage({ message });
  },
  (now) => {
    state = now;
    for (const port of pages.keys()) port.postMessage({ state });
  },
);

/** @param {MessagePort} port @param {any} order */
function obey(port, order) {
  const page = pages.get(port) ?? { topics: new Set(), heard: 0 };
  page.heard = Date.now();
  pages.set(port, page);
  if (order.do === "subscribe") {
    page.topics.add(order.topic);
    if (stream.cursor[order.topic] !== order.after || state === "refused") stream.add(order.topic, order.after);
    port.postMessage({ state });
  } else if (order.do === "unsubscribe") {
    page.topics.delete(order.topic);
    forget();
  } else if (order.do === "bye") {
    pages.delete(port);
    forget();
  }
}

/** Unsubscribe from topics that no page needs any more. */
function forget() {
  for (const topic of Object.keys(stream.cursor)) {
    if (![...pages.values()].some((page) => page.topics.has(topic))) stream.remove(topic);
  }
}

setInterval(() => {
  const late = Date.now() - GONE_MS;
  for (const [port, page] of pages) if (page.heard < late) pages.delete(port);
  forget();
}, 60_000);

self.addEventListener("connect", (/** @type {any} */ event) => {
  const port = event.ports[0];
  port.onmessage = (/** @type {MessageEvent} */ got) => obey(port, got.data);
});
