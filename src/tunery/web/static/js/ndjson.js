// @ts-check
/**
 * Responses with one JSON value per line.
 *
 *   await lines("/api/v1/chats/x/ask", body, (event) => …, signal)
 *
 * Resolves when the server ends the response; throws a Problem (code "offline" if it was cut off).
 */
import { Problem } from "./api.js";
import { url } from "./dom.js";

/**
 * @param {string} path
 * @param {unknown} body
 * @param {(event: any) => void} onEvent
 * @param {AbortSignal} signal
 */
export async function lines(path, body, onEvent, signal) {
  try {
    const answer = await fetch(url(path), {
      method: "POST", signal, credentials: "same-origin", body: JSON.stringify(body),
      headers: { "Content-Type": "application/json", "X-Tunery": "1" },
    });
    if (!answer.ok || !answer.body) {
      if (answer.status === 401) document.dispatchEvent(new CustomEvent("tunery:logged-out"));
      throw new Problem(answer.status, await answer.json().catch(() => ({ title: answer.statusText })));
    }
    const reader = answer.body.getReader();
    const decoder = new TextDecoder();
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      text += decoder.decode(value, { stream: true });
      const whole = text.split("\n");
      text = whole.pop() ?? "";
      for (const line of whole) if (line) onEvent(JSON.parse(line));
    }
  } catch (error) {
    if (error instanceof Problem || (error instanceof DOMException && error.name === "AbortError")) throw error;
    throw new Problem(0, { code: "offline", detail: "The server did not respond." });
  }
}
