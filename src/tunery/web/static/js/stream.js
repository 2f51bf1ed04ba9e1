// @ts-check
/**
 * One connection to /api/v1/events, used by the shared worker and, without one, by the page.
 *
 * Server-sent events are read with fetch, not with EventSource: the heartbeat comment must be visible
 * (a proxy that buffers delivers none within 15 s, and then we poll), and so must a 401.
 * The cursor is the server's `id:` line, JSON of topic -> position; it is sent back as `after`.
 */

const SILENT_MS = 15_000;
const POLL_MS = 2_000;
const WAITS_MS = [500, 1_000, 1_000, 2_000, 4_000];

/**
 * @typedef {{topic: string, kind: string, [key: string]: any}} Message
 * @typedef {"connecting" | "live" | "polling" | "lost" | "refused"} State
 */

export class Stream {
  /**
   * @param {string} base path of the events route, including the proxy's prefix
   * @param {(message: Message) => void} onMessage
   * @param {(state: State) => void} onState
   */
  constructor(base, onMessage, onState) {
    this.base = base;
    this.onMessage = onMessage;
    this.onState = onState;
    /** @type {Record<string, string>} position per topic; the keys are the subscribed topics */
    this.cursor = {};
    /** @type {AbortController | null} */
    this.open = null;
    this.round = 0;
    this.failures = 0;
    this.buffered = false;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
  }

  /** @param {string} topic @param {string} after position to start after; "" for everything */
  add(topic, after) {
    this.cursor[topic] = after;
    this.restart();
  }

  /** @param {string} topic */
  remove(topic) {
    delete this.cursor[topic];
    this.restart();
  }

  /** Reconnect soon; several changes at once cause a single reconnect. */
  restart() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.run(), 30);
  }

  stop() {
    clearTimeout(this.timer);
    this.round += 1;
    this.open?.abort();
  }

  async run() {
    this.stop();
    const round = this.round;
    while (round === this.round && Object.keys(this.cursor).length) {
      this.open = new AbortController();
      try {
        await (this.buffered ? this.poll(this.open.signal) : this.listen(this.open));
      } catch (error) {
        if (round !== this.round) return;
        if (error === "refused") {
          this.onState("refused");
          return;
        }
        if (error !== "buffered") {
          this.failures += 1;
          this.onState("lost");
        }
      }
      if (round !== this.round) return;
      const wait = WAITS_MS[Math.min(this.failures, WAITS_MS.length - 1)];
      await new Promise((done) => setTimeout(done, this.buffered && !this.failures ? POLL_MS : wait));
    }
  }

  /** @param {string} path */
  address(path) {
    const query = new URLSearchParams({ topics: Object.keys(this.cursor).join(","), after: JSON.stringify(this.cursor) });
    return `${this.base}${path}?${query}`;
  }

  /** @param {AbortController} open */
  async listen(open) {
    let quiet = 0;
    const alarm = () => {
      clearTimeout(quiet);
      quiet = Number(setTimeout(() => open.abort("silent"), SILENT_MS));
    };
    let heard = false;
    alarm();
    try {
      const answer = await fetch(this.address(""), { signal: open.signal, credentials: "same-origin", headers: { Accept: "text/event-stream" } });
      check(answer);
      const reader = /** @type {ReadableStream<Uint8Array>} */ (answer.body).getReader();
      const decoder = new TextDecoder();
      let text = "";
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        if (!heard) this.well("live");
        heard = true;
        alarm();
        text += decoder.decode(value, { stream: true });
        const blocks = text.split(/\r?\n\r?\n/);
        text = blocks.pop() ?? "";
        for (const block of blocks) this.take(block);
      }
    } catch (error) {
      if (open.signal.reason === "silent" && !heard) {
        this.buffered = true;
        throw "buffered";
      }
      throw error;
    } finally {
      clearTimeout(quiet);
    }
  }

  /** @param {string} block the lines of one event */
  take(block) {
    let id = "";
    const lines = [];
    for (const line of block.split(/\r?\n/)) {
      if (line.startsWith("id:")) id = line.slice(3).trim();
      if (line.startsWith("data:")) lines.push(line.slice(5).trimStart());
    }
    if (lines.length) this.deliver(JSON.parse(lines.join("\n")));
    if (id) this.moved(JSON.parse(id));
  }

  /** @param {AbortSignal} signal */
  async poll(signal) {
    const answer = await fetch(this.address("/poll"), { signal, credentials: "same-origin" });
    check(answer);
    const given = await answer.json();
    this.well("polling");
    this.deliver(given.messages);
    this.moved(JSON.parse(given.cursor));
  }

  /** @param {Message[]} messages */
  deliver(messages) {
    for (const message of messages) this.onMessage(message);
  }

  /** @param {Record<string, string>} cursor */
  moved(cursor) {
    for (const [topic, position] of Object.entries(cursor)) {
      if (topic in this.cursor) this.cursor[topic] = String(position);
    }
  }

  /** @param {State} state */
  well(state) {
    this.failures = 0;
    this.onState(state);
  }
}

/** @param {Response} answer */
function check(answer) {
  if (answer.status === 401 || answer.status === 403) throw "refused";
  if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
}
