/**
 * Server-sent events: a parser without I/O.
 * https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
 */

/** @typedef {{type: string, data: string, id: string | undefined}} ServerEvent */

/** Parses one stream. lastId: of the last complete event; a new stream continues after it. */
export class EventParser {
  #decoder = new TextDecoder();
  #rest = "";
  #endedWithCr = false;
  #type = "";
  /** @type {string[]} */
  #data = [];
  /** @type {string | undefined} */
  #id;

  /** @param {string} [lastId] */
  constructor(lastId) {
    this.lastId = lastId;
    this.#id = lastId;
    /**
     * The seconds that the service wants between two streams.
     *
     * @type {number | undefined}
     */
    this.retrySeconds = undefined;
  }

  /**
   * Take the next bytes. Return the events that they complete; none for a heartbeat.
   *
   * @param {Uint8Array} part
   * @returns {ServerEvent[]}
   */
  feed(part) {
    let text = this.#decoder.decode(part, { stream: true });
    if (text && this.#endedWithCr) {
      if (text.startsWith("\n")) text = text.slice(1);
      this.#endedWithCr = false;
    }
    if (text.endsWith("\r")) this.#endedWithCr = true;
    const lines = (this.#rest + text).split(/\r\n|\n|\r/);
    this.#rest = lines.pop() ?? "";
    return lines.flatMap((line) => this.#line(line) ?? []);
  }

  /** @param {string} line */
  #line(line) {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "event") this.#type = value;
    else if (name === "data") this.#data.push(value);
    else if (name === "id" && !value.includes("\0")) this.#id = value;
    else if (name === "retry" && /^\d{1,9}$/.test(value)) this.retrySeconds = Number(value) / 1000;
    return undefined;
  }

  #dispatch() {
    const event = { type: this.#type || "message", data: this.#data.join("\n"), id: this.#id };
    const empty = this.#data.length === 0;
    this.#type = "";
    this.#data = [];
    this.lastId = this.#id;
    return empty ? undefined : event;
  }
}
