/** Steps of a composition, and the files that they use. They are data; nothing is sent. */

/** @import {Media, Schemas} from "./shapes.js" */

/**
 * A file that a step uses: that of another step, an asset, an address, or a reference.
 *
 * @typedef {Step | Output | Media | {var: string}} File
 */
/** @typedef {ModelChoice | string | readonly (ModelChoice | string)[]} Choice */

/**
 * What every step takes. name: in the plan; by default its kind and a number. needs: further steps
 * to wait for.
 *
 * @typedef {object} StepOptions
 * @property {string} [name]
 * @property {readonly Step[]} [needs]
 * @property {"stop" | "continue"} [onFailure]
 * @property {number} [deadlineSeconds]
 */

/**
 * What every paid step takes. model: a model, or a model and its alternatives. reuse: whether to
 * use the files of an equal earlier purchase. count: so many candidates, of which an approval step
 * chooses.
 *
 * @typedef {StepOptions & {model?: Choice | undefined, provider?: string, reuse?: boolean,
 *   count?: number}} PaidOptions
 */

/** A step. The same step used twice is bought once. */
export class Step {
  /**
   * @param {string} kind
   * @param {Record<string, unknown>} params
   * @param {PaidOptions} options
   */
  constructor(kind, params, options) {
    this.kind = kind;
    this.params = params;
    this.options = options;
    this.models = choices(kind, options.model);
    const providers = new Set(this.models.flatMap((each) => each.provider ?? []));
    if (providers.size > 1) {
      throw new TypeError("The models of a step must name one provider at most.");
    }
    this.provider = options.provider ?? [...providers][0];
  }

  /**
   * Return one of the step's files by its name, for example `words` or `srt`.
   *
   * @param {string | number} name
   */
  output(name) {
    return new Output(this, { name });
  }

  /**
   * Return the file of one candidate of a step with a count; the first has the number 1.
   *
   * @param {number} number
   */
  candidate(number) {
    const { count } = this.options;
    if (count === undefined || !(number >= 1 && number <= count)) {
      throw new RangeError(`The step has no candidate ${number}: its count is ${count}.`);
    }
    return new Output(this, { candidate: number });
  }
}

/** A file of a step. */
export class Output {
  /**
   * @param {Step} step
   * @param {{name?: string | number | undefined, optional?: boolean,
   *   candidate?: number | undefined}} choice
   */
  constructor(step, choice) {
    this.step = step;
    this.choice = choice;
  }
}

/** A model, and the provider where several have one of this name. */
export class ModelChoice {
  /**
   * @param {string} id
   * @param {string} [provider]
   * @param {string} [kind]
   */
  constructor(id, provider, kind) {
    this.id = id;
    this.provider = provider;
    this.kind = kind;
  }
}

/**
 * @param {string} kind
 * @param {Choice} [model]
 */
function choices(kind, model) {
  if (model === undefined) return [];
  const several = typeof model === "string" || model instanceof ModelChoice ? [model] : model;
  return several.map((each) => {
    const choice = typeof each === "string" ? new ModelChoice(each) : each;
    if (choice.kind !== undefined && choice.kind !== kind) {
      throw new TypeError(`${choice.id} was chosen for ${choice.kind}; this step makes ${kind}.`);
    }
    return choice;
  });
}

/**
 * Return a file of a list that is left out if its step, with `onFailure: "continue"`, fails.
 *
 * @param {Step | Output} file
 */
export function optional(file) {
  const output = asOutput(file);
  return new Output(output.step, { ...output.choice, optional: true });
}

/** @param {Step | Output} file */
export function asOutput(file) {
  return file instanceof Output ? file : new Output(file, {});
}

/**
 * Choose a model that makes videos.
 *
 * @param {string} id
 * @param {string} [provider]
 */
export function videoModel(id, provider) {
  return new ModelChoice(id, provider, "video");
}

/**
 * Choose a model that makes images.
 *
 * @param {string} id
 * @param {string} [provider]
 */
export function imageModel(id, provider) {
  return new ModelChoice(id, provider, "image");
}

/**
 * Choose a model that makes speech.
 *
 * @param {string} id
 * @param {string} [provider]
 */
export function audioModel(id, provider) {
  return new ModelChoice(id, provider, "audio");
}
