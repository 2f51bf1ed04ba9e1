// @ts-check
/**
 * The REST API. Each call returns the response's JSON or throws a Problem; it displays nothing.
 *
 *   await get("/api/v1/runs", {status: "running"})     query parameters
 *   await post("/api/v1/runs", {config})               also put, patch, del
 *   await put(path, body, {signal, headers})            e.g. an AbortSignal, Idempotency-Key
 *   catch (problem) { problem.detail, problem.fix, problem.code, problem.status, problem.remedies }
 *
 * A Problem with code "offline" means that there was no response at all.
 */
import { url } from "./dom.js";

/** An error response: RFC 9457 problem details. */
export class Problem extends Error {
  /** @param {number} status @param {Record<string, any>} body */
  constructor(status, body) {
    super(body.detail || body.title || `HTTP ${status}`);
    this.status = status;
    this.code = String(body.code ?? "");
    this.title = String(body.title ?? "");
    this.detail = String(body.detail ?? body.title ?? `HTTP ${status}`);
    this.fix = String(body.fix ?? "");
    /** @type {Record<string, any>} */
    this.params = body.params ?? {};
    /** @type {{action: string, label: string}[]} */
    this.remedies = body.remedies ?? [];
  }
}

/** @param {unknown} error what a call threw; anything but a Problem is a bug and is rethrown @returns {Problem} */
export function problemOf(error) {
  if (error instanceof Problem) return error;
  throw error;
}

/**
 * @typedef {{signal?: AbortSignal, headers?: Record<string, string>, keepalive?: boolean}} Options
 */

/**
 * @param {string} method
 * @param {string} path
 * @param {unknown} [body]
 * @param {Options} [options]
 * @returns {Promise<any>}
 */
async function call(method, path, body, options = {}) {
  /** @type {Record<string, string>} */
  const headers = { Accept: "application/json", "X-Tunery": "1", ...options.headers };
  if (body !== undefined || method !== "GET") headers["Content-Type"] ??= "application/json";
  let answer;
  try {
    answer = await fetch(url(path), {
      method, headers, signal: options.signal, keepalive: options.keepalive, credentials: "same-origin",
      body: method === "GET" ? undefined : JSON.stringify(body ?? {}),
    });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Problem(0, { code: "offline", detail: "The server did not respond." });
  }
  const json = /\bjson\b/.test(answer.headers.get("content-type") ?? "");
  const text = await answer.text();
  const given = json && text ? JSON.parse(text) : null;
  if (!answer.ok) {
    if (answer.status === 401) document.dispatchEvent(new CustomEvent("tunery:logged-out"));
    throw new Problem(answer.status, given ?? { title: answer.statusText });
  }
  return given;
}

/** @param {string} path @param {Record<string, unknown>} [query] @param {Options} [options] */
export function get(path, query = {}, options) {
  const pairs = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const search = new URLSearchParams(pairs.map(([name, value]) => [name, String(value)])).toString();
  return call("GET", search ? `${path}?${search}` : path, undefined, options);
}

/** @param {string} path @param {unknown} [body] @param {Options} [options] */
export const post = (path, body, options) => call("POST", path, body, options);
/** @param {string} path @param {unknown} [body] @param {Options} [options] */
export const put = (path, body, options) => call("PUT", path, body, options);
/** @param {string} path @param {unknown} [body] @param {Options} [options] */
export const patch = (path, body, options) => call("PATCH", path, body, options);
/** @param {string} path @param {unknown} [body] @param {Options} [options] */
export const del = (path, body, options) => call("DELETE", path, body, options);
