// @ts-check
/**
 * Uploads one file to the server in pieces, resuming where it stopped.
 *
 *   const told = await sendFile(file, {onProgress: (done, total, waiting) => …, signal})
 *
 * A lost connection is retried; after a reload, the same upload is found by file name and size.
 */
import { get, post, Problem } from "./api.js";
import { url } from "./dom.js";

const LONGEST_WAIT_MS = 15_000;

/**
 * @param {File} file
 * @param {{onProgress: (done: number, total: number, waiting: boolean) => void, signal: AbortSignal}} options
 * @returns {Promise<any>} the upload as returned by the REST API
 */
export async function sendFile(file, { onProgress, signal }) {
  let told = await post("/api/v1/datasets/uploads", { name: file.name, size: file.size }, { signal });
  let wait = 500;
  while (!told.done) {
    try {
      const start = told.received;
      const end = Math.min(start + told.chunk_bytes, file.size);
      told = await sendPiece(told.id, file.slice(start, end), `bytes ${start}-${end - 1}/${file.size}`, signal);
      wait = 500;
    } catch (problem) {
      if (!(problem instanceof Problem) || (problem.code !== "offline" && problem.status !== 409)) throw problem;
      onProgress(told.received, file.size, true);
      await new Promise((done) => setTimeout(done, wait));
      if (signal.aborted) throw new DOMException("", "AbortError");
      wait = Math.min(wait * 2, LONGEST_WAIT_MS);
      told = await get(`/api/v1/datasets/uploads/${told.id}`, {}, { signal }).catch((again) => {
        if (again.code === "offline") return told;
        throw again;
      });
    }
    onProgress(told.received, file.size, false);
  }
  return told;
}

/** @param {string} id @param {Blob} piece @param {string} range @param {AbortSignal} signal */
async function sendPiece(id, piece, range, signal) {
  const headers = { "Content-Type": "application/octet-stream", "Content-Range": range, "X-Tunery": "1" };
  let answer;
  try {
    answer = await fetch(url(`/api/v1/datasets/uploads/${id}`), { method: "PUT", headers, body: piece, signal, credentials: "same-origin" });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Problem(0, { code: "offline" });
  }
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Problem(answer.status, body);
  return body;
}
