/** Executions and quotes: orders, and what becomes of them. */

import { sendJson } from "./attempts.js";
import { DownloadError } from "./errors.js";
import { downloadBytes, downloadFile } from "./files.js";
import { follow } from "./streams.js";
import { isStored, media, orderBody } from "./values.js";
import { waitForEnd } from "./waiting.js";

/**
 * @import {Accepted, AudioOrder, CallOptions, Cancelled, Execution, ExecutionDocument,
 *   ImageOrder, KeyedOptions, OrderOptions, Plan, Quote, Result, Retried, Schemas, StoredFile,
 *   TranscriptOrder, VideoOrder} from "./shapes.js"
 * @import {Settings} from "./transport.js"
 * @import {WaitOptions} from "./waiting.js"
 */

/** @typedef {Plan | {toPlan(): object}} PlanLike */
/** @typedef {{values?: Record<string, unknown> | undefined}} Values */
/** @typedef {KeyedOptions & {acceptPossibleDoubleCost?: boolean, maxCost?: string}} RetryOptions */

/**
 * limit: of each page.
 *
 * @typedef {object} ListFilters
 * @property {Schemas["ExecutionStatus"] | Schemas["ExecutionStatus"][]} [status]
 * @property {string} [type]
 * @property {string} [metadataKey]
 * @property {string} [metadataValue]
 * @property {Date | string} [createdAfter]
 * @property {Date | string} [createdBefore]
 * @property {number} [limit]
 */

/** The methods of an execution. Its other members are those of the service's answer. */
export class Handle {
  #executions;

  /**
   * @param {Executions} executions
   * @param {string} id
   */
  constructor(executions, id) {
    this.#executions = executions;
    this.id = id;
  }

  /**
   * Return the execution as it is now.
   *
   * @param {CallOptions} [options]
   */
  refresh(options) {
    return this.#executions.get(this.id, options);
  }

  /**
   * Wait for the end, and return the execution.
   *
   * @param {WaitOptions} [options]
   */
  wait(options) {
    return this.#executions.wait(this.id, options);
  }

  /**
   * Iterate over the changes of the execution until it ends; see `executions.events`.
   *
   * @param {CallOptions & {after?: number}} [options]
   */
  events(options) {
    return this.#executions.events(this.id, options);
  }

  /**
   * Stop buying, and cancel the jobs that run at providers. Repeating is safe.
   *
   * @param {CallOptions} [options]
   */
  cancel(options) {
    return this.#executions.cancel(this.id, options);
  }

  /**
   * Run a failed or cancelled execution again; what is paid for is kept.
   *
   * @param {RetryOptions} [options]
   */
  retry(options) {
    return this.#executions.retry(this.id, options);
  }

  /**
   * Return the content of a file of the result, by default the first; or, with a path, store it
   * there, which needs Node. The checksum of the content is right.
   *
   * @overload
   * @param {CallOptions & {path: string, file?: StoredFile | undefined}} options
   * @returns {Promise<string>}
   */
  /**
   * @overload
   * @param {CallOptions & {file?: StoredFile | undefined}} [options]
   * @returns {Promise<Uint8Array<ArrayBuffer>>}
   */
  /** @param {CallOptions & {path?: string, file?: StoredFile | undefined}} [options] */
  async download(options = {}) {
    const result = "result" in this ? /** @type {Result | null} */ (this.result) : null;
    const file = options.file ?? result?.assets?.find((each) => each.url === result.url);
    if (!file) throw new DownloadError(`${this.id} has no result to download.`);
    return this.#executions.download(file, options);
  }
}

/** Orders return at once. Each is sent with an idempotency key, so that it is paid once. */
export class Executions {
  #settings;

  /** @param {Settings} settings */
  constructor(settings) {
    this.#settings = settings;
  }

  /**
   * Create a video from a prompt, by way of a picture unless an input replaces it.
   *
   * @param {VideoOrder} order
   * @param {KeyedOptions} [options]
   * @returns {Promise<Accepted>}
   */
  generateVideo(order, options) {
    return this.#order("/api/generate-video", orderBody(order), options);
  }

  /**
   * Create an image.
   *
   * @param {ImageOrder} order
   * @param {KeyedOptions} [options]
   * @returns {Promise<Accepted>}
   */
  generateImage(order, options) {
    return this.#order("/api/generate-image", orderBody(order), options);
  }

  /**
   * Create speech.
   *
   * @param {AudioOrder} order
   * @param {KeyedOptions} [options]
   * @returns {Promise<Accepted>}
   */
  generateAudio(order, options) {
    return this.#order("/api/generate-audio", orderBody(order), options);
  }

  /**
   * Transcribe sound, also that of a video.
   *
   * @param {TranscriptOrder} order
   * @param {KeyedOptions} [options]
   * @returns {Promise<Accepted>}
   */
  transcribe(order, options) {
    return this.#order("/api/transcribe", orderBody(order), options);
  }

  /**
   * Execute a plan: JSON, or a composition. values: of its variables.
   *
   * @param {PlanLike} plan
   * @param {OrderOptions & Values & KeyedOptions} [options]
   * @returns {Promise<Accepted>}
   */
  create(plan, { signal, idempotencyKey, ...order } = {}) {
    return this.#order("/api/executions", planBody(plan, order), { signal, idempotencyKey });
  }

  /**
   * Return an execution.
   *
   * @param {string} id
   * @param {CallOptions} [options]
   */
  async get(id, { signal } = {}) {
    return this.open(await sendJson(this.#settings, { method: "GET", path: place(id), signal }));
  }

  /**
   * Iterate over the executions of the account, newest first.
   *
   * @param {ListFilters & CallOptions} [filters]
   * @returns {AsyncGenerator<Execution, void>}
   */
  async *list({ signal, ...filters } = {}) {
    let cursor;
    do {
      const query = { ...filters, cursor };
      const call = { method: "GET", path: "/api/executions", query, signal };
      const page = await sendJson(this.#settings, call);
      for (const document of page.data) yield this.open(document);
      cursor = page.nextCursor;
    } while (cursor);
  }

  /**
   * Stop buying, and cancel the jobs that run at providers. Repeating is safe.
   *
   * @param {string} id
   * @param {CallOptions} [options]
   * @returns {Promise<Cancelled>}
   */
  cancel(id, { signal } = {}) {
    return sendJson(this.#settings, { method: "POST", path: place(id, "/cancel"), signal });
  }

  /**
   * Run a failed or cancelled execution again; what is paid for is kept. maxCost: of the steps that
   * are bought again.
   *
   * @param {string} id
   * @param {RetryOptions} [options]
   * @returns {Promise<Retried>}
   */
  retry(id, { acceptPossibleDoubleCost, maxCost, ...options } = {}) {
    const body = { acceptPossibleDoubleCost: acceptPossibleDoubleCost || undefined, maxCost };
    return this.#order(place(id, "/retry"), body, options);
  }

  /**
   * Iterate over the changes of an execution until it ends, `end` being the last one.
   *
   * The first event is a `snapshot`. after: the sequence of the last known event; then the changes
   * behind it come first. Lost connections are opened again and lose no event. Throw CallError if
   * the service refuses, or is unreachable for five minutes.
   *
   * @param {string} id
   * @param {CallOptions & {after?: number}} [options]
   */
  events(id, options = {}) {
    return follow(this.#settings, id, options);
  }

  /**
   * Wait for the end of an execution, and return it. The wait follows the stream of events, and
   * reads the execution from time to time where it cannot.
   *
   * @param {string} id
   * @param {WaitOptions} [options]
   */
  wait(id, options = {}) {
    return waitForEnd(this, this.#settings, id, options);
  }

  /**
   * Return the content of a stored file; or, with a path, store it there, which needs Node.
   *
   * @param {{id: string, sha256: string}} file
   * @param {CallOptions & {path?: string}} [options]
   * @returns {Promise<any>}
   */
  download(file, { path, ...options } = {}) {
    return path === undefined
      ? downloadBytes(this.#settings, file, options)
      : downloadFile(this.#settings, file, path, options);
  }

  /**
   * Return the execution of a document, with methods.
   *
   * @param {ExecutionDocument} document
   * @returns {Execution}
   */
  open(document) {
    return this.#handle(document.id, document);
  }

  /**
   * @param {string} path
   * @param {object} body
   * @param {KeyedOptions} [options]
   */
  async #order(path, body, options = {}) {
    const document = await sendJson(this.#settings, {
      method: "POST",
      path,
      body,
      repeat: "keyed",
      ...options,
    });
    return this.#handle(document.executionId, document);
  }

  /**
   * @param {string} id
   * @param {object} document
   * @returns {any}
   */
  #handle(id, document) {
    const handle = new Handle(this, id);
    for (const [name, value] of Object.entries(document)) {
      // A later service may send a member with the name of a method.
      if (!(name in Handle.prototype)) Object.assign(handle, { [name]: value });
    }
    return handle;
  }
}

/** Prices of orders before they are made. Nothing is started or held. */
export class Quotes {
  #settings;

  /** @param {Settings} settings */
  constructor(settings) {
    this.#settings = settings;
  }

  /**
   * Return what `executions.generateVideo` would hold.
   *
   * @param {VideoOrder} order
   * @param {CallOptions} [options]
   */
  video(order, options) {
    return this.#quote("", orderBody(order), options);
  }

  /**
   * Return what `executions.generateImage` would hold.
   *
   * @param {ImageOrder} order
   * @param {CallOptions} [options]
   */
  image(order, options) {
    return this.#quote("/generate-image", orderBody(order), options);
  }

  /**
   * Return what `executions.generateAudio` would hold.
   *
   * @param {AudioOrder} order
   * @param {CallOptions} [options]
   */
  audio(order, options) {
    return this.#quote("/generate-audio", orderBody(order), options);
  }

  /**
   * Return what `executions.transcribe` would hold.
   *
   * @param {TranscriptOrder} order
   * @param {CallOptions} [options]
   */
  transcript(order, options) {
    return this.#quote("/transcribe", orderBody(order), options);
  }

  /**
   * Return what `executions.create` would hold; every error of the plan is thrown.
   *
   * @param {PlanLike} plan
   * @param {OrderOptions & Values & CallOptions} [options]
   */
  plan(plan, { signal, ...order } = {}) {
    return this.#quote("/executions", planBody(plan, order), { signal });
  }

  /**
   * @param {string} route
   * @param {object} body
   * @param {CallOptions} [options]
   * @returns {Promise<Quote>}
   */
  #quote(route, body, { signal } = {}) {
    return sendJson(this.#settings, { method: "POST", path: `/api/quotes${route}`, body, signal });
  }
}

/**
 * @param {string} id
 * @param {string} [action]
 */
function place(id, action = "") {
  return `/api/executions/${encodeURIComponent(id)}${action}`;
}

/**
 * @param {PlanLike} plan
 * @param {OrderOptions & Values} order
 */
function planBody(plan, { values, ...order }) {
  const entries = Object.entries(values ?? {});
  const sent = entries.map(([name, value]) => [name, isStored(value) ? media(value) : value]);
  const plain = "toPlan" in plan ? plan.toPlan() : plan;
  return { plan: plain, ...(values && { values: Object.fromEntries(sent) }), ...order };
}
