/** Compositions: the plan of steps in their order, with names, as JSON. */

import { Output, Step, asOutput } from "./steps.js";
import { MEDIA_NAMES, isStored, media } from "./values.js";

/**
 * @import {Takeone} from "./client.js"
 * @import {CallOptions, KeyedOptions, OrderOptions, Plan} from "./shapes.js"
 * @import {Values} from "./executions.js"
 * @import {File} from "./steps.js"
 */

/** Parameters where a text is an address. */
const FILE_NAMES = new Set([...MEDIA_NAMES, "media", "words"]);

/** Steps that make a film. Nothing is sent until `execute` or `quote`. */
export class Composition {
  #client;
  #result;
  #order;
  #names;
  #outputs;

  /**
   * @param {readonly (Step | {outputs: Record<string, File>})[]} members
   * @param {() => Takeone} client
   */
  constructor(members, client) {
    const steps = members.filter((each) => each instanceof Step);
    const result = steps.at(-1);
    if (result === undefined) throw new TypeError("A composition needs at least one step.");
    this.#client = client;
    this.#result = result;
    const named = members.flatMap((each) => ("outputs" in each ? Object.entries(each.outputs) : []));
    this.#outputs = new Map(named.map(([name, file]) => [name, asOutput(output(name, file))]));
    const used = [...this.#outputs.values()].map((each) => each.step);
    this.#order = inOrder([...steps, ...used]);
    this.#names = namesOf(this.#order);
    const needed = new Set([...used, ...this.#order.flatMap((each) => [...needsOf(each)])]);
    for (const each of steps.slice(0, -1)) {
      if (!needed.has(each)) this.#outputs.set(this.#name(each), asOutput(each));
    }
  }

  /** Return the plan as JSON: the `plan` of `POST /api/executions`. */
  toPlan() {
    const outputs = [...this.#outputs].map(([name, file]) => [name, this.#reference(file)]);
    const plan = {
      version: 1,
      steps: this.#order.map((each) => this.#step(each)),
      result: this.#name(this.#result),
      ...(outputs.length && { outputs: Object.fromEntries(outputs) }),
    };
    return /** @type {Plan} */ (/** @type {unknown} */ (plan));
  }

  /**
   * Execute the plan, and return at once. values: of its variables.
   *
   * @param {OrderOptions & Values & KeyedOptions} [options]
   */
  async execute(options) {
    return this.#client().executions.create(this, options);
  }

  /**
   * Return what the plan may cost. Nothing is started or held.
   *
   * @param {OrderOptions & Values & CallOptions} [options]
   */
  async quote(options) {
    return this.#client().quotes.plan(this, options);
  }

  /** @param {Step} step */
  #name(step) {
    return /** @type {string} */ (this.#names.get(step));
  }

  /** @param {Step} step */
  #step(step) {
    const { needs, onFailure, deadlineSeconds, reuse, count } = step.options;
    const ids = step.models.map((each) => each.id);
    const made = {
      name: this.#name(step),
      kind: step.kind,
      ...(ids.length === 1 ? { model: ids[0] } : ids.length ? { models: ids } : {}),
      provider: step.provider,
      needs: needs?.length ? needs.map((each) => this.#name(each)) : undefined,
      onFailure,
      deadlineSeconds,
      reuse,
      count,
      params: this.#object(step.params),
    };
    return Object.fromEntries(Object.entries(made).filter(([, value]) => value !== undefined));
  }

  /**
   * @param {object} values
   * @returns {Record<string, unknown>}
   */
  #object(values) {
    const given = Object.entries(values).filter(([, value]) => value !== undefined);
    return Object.fromEntries(given.map(([name, value]) => [name, this.#value(name, value)]));
  }

  /**
   * @param {string} name
   * @param {unknown} value
   * @returns {unknown}
   */
  #value(name, value) {
    if (value instanceof Step || value instanceof Output) return this.#reference(asOutput(value));
    if (isStored(value) || (typeof value === "string" && FILE_NAMES.has(name))) return media(value);
    if (Array.isArray(value)) return value.map((each) => this.#value("", each));
    return value !== null && typeof value === "object" ? this.#object(value) : value;
  }

  /** @param {Output} output */
  #reference({ step, choice }) {
    const candidate = choice.candidate === undefined ? "" : `-${choice.candidate}`;
    return {
      step: `${this.#name(step)}${candidate}`,
      ...(choice.name !== undefined && { output: choice.name }),
      ...(choice.optional && { optional: true }),
    };
  }
}

/**
 * @param {string} name
 * @param {unknown} file
 */
function output(name, file) {
  if (file instanceof Step || file instanceof Output) return file;
  throw new TypeError(`The output ${name} must be a step or one of its files.`);
}

/**
 * Yield the steps that a step uses or waits for.
 *
 * @param {Step} step
 * @returns {Generator<Step, void>}
 */
function* needsOf(step) {
  yield* step.options.needs ?? [];
  yield* stepsIn(step.params);
}

/**
 * @param {unknown} value
 * @returns {Generator<Step, void>}
 */
function* stepsIn(value) {
  if (value instanceof Step) yield value;
  else if (value instanceof Output) yield value.step;
  else if (value !== null && typeof value === "object") {
    for (const each of Object.values(value)) yield* stepsIn(each);
  }
}

/**
 * Return the steps and all that they use, each once, after those that it uses.
 *
 * @param {readonly Step[]} steps
 */
function inOrder(steps) {
  /** @type {Set<Step>} */
  const order = new Set();
  /** @param {Step} step */
  const add = (step) => {
    if (order.has(step)) return;
    for (const need of needsOf(step)) add(need);
    order.add(step);
  };
  steps.forEach(add);
  return [...order];
}

/**
 * Return a name for each step: its own, or its kind and a number.
 *
 * @param {readonly Step[]} order
 */
function namesOf(order) {
  /** @type {Set<string>} */
  const taken = new Set();
  for (const { options } of order) {
    if (options.name === undefined) continue;
    if (taken.has(options.name)) throw new TypeError(`Two steps have the name ${options.name}.`);
    taken.add(options.name);
  }
  for (const { options } of order) {
    if (options.name === undefined) continue;
    // The service gives these names to the candidates of a step.
    for (let each = 1; each <= (options.count ?? 0); each++) taken.add(`${options.name}-${each}`);
  }
  /** @type {Map<string, number>} */
  const numbers = new Map();
  /** @type {Map<Step, string>} */
  const names = new Map();
  for (const step of order) {
    let name = step.options.name;
    while (name === undefined || (taken.has(name) && step.options.name === undefined)) {
      const number = (numbers.get(step.kind) ?? 0) + 1;
      numbers.set(step.kind, number);
      name = `${step.kind}-${number}`;
    }
    names.set(step, name);
  }
  return names;
}
