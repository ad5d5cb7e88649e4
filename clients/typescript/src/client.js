/** The client. */

import { Assets } from "./assets.js";
import { sendJson } from "./attempts.js";
import { Composition } from "./composition.js";
import { Executions, Quotes } from "./executions.js";
import { makeSettings } from "./transport.js";

/**
 * @import {Call} from "./attempts.js"
 * @import {File} from "./steps.js"
 * @import {KeyedOptions} from "./shapes.js"
 * @import {Step} from "./steps.js"
 * @import {ClientOptions} from "./transport.js"
 */

/** A client of Takeone. Keep its API key on a server: it pays with your account. */
export class Takeone {
  #settings;

  /** @param {ClientOptions} [options] */
  constructor(options = {}) {
    this.#settings = makeSettings(options);
    this.executions = new Executions(this.#settings);
    this.quotes = new Quotes(this.#settings);
    this.assets = new Assets(this.#settings);
  }

  /**
   * Compose steps into a plan that this client executes; the last one makes the result. With
   * `{outputs}` as the last argument, further files are results by names of your own.
   *
   * @param {...(Step | {outputs: Record<string, File>})} steps
   */
  compose(...steps) {
    return new Composition(steps, () => this);
  }

  /**
   * Call any operation of the API, and return the JSON of its answer. A POST or PATCH is sent once,
   * unless it has an idempotency key.
   *
   * @param {string} method
   * @param {string} path
   * @param {KeyedOptions & {query?: Record<string, unknown>, body?: unknown}} [options]
   * @returns {Promise<any>}
   */
  request(method, path, options = {}) {
    const once = ["POST", "PATCH"].includes(method);
    /** @type {Call["repeat"]} */
    const repeat = options.idempotencyKey ? "keyed" : once ? "never" : "safe";
    return sendJson(this.#settings, { method, path, repeat, ...options });
  }
}

/** @type {Takeone | undefined} */
let shared;

/**
 * Compose steps into a plan that a client with the settings of the environment executes.
 *
 * @param {...(Step | {outputs: Record<string, File>})} steps
 */
export function compose(...steps) {
  return new Composition(steps, () => (shared ??= new Takeone()));
}
