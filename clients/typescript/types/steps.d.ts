/**
 * Return a file of a list that is left out if its step, with `onFailure: "continue"`, fails.
 *
 * @param {Step | Output} file
 */
export function optional(file: Step | Output): Output;
/** @param {Step | Output} file */
export function asOutput(file: Step | Output): Output;
/**
 * Choose a model that makes videos.
 *
 * @param {string} id
 * @param {string} [provider]
 */
export function videoModel(id: string, provider?: string): ModelChoice;
/**
 * Choose a model that makes images.
 *
 * @param {string} id
 * @param {string} [provider]
 */
export function imageModel(id: string, provider?: string): ModelChoice;
/**
 * Choose a model that makes speech.
 *
 * @param {string} id
 * @param {string} [provider]
 */
export function audioModel(id: string, provider?: string): ModelChoice;
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
    constructor(kind: string, params: Record<string, unknown>, options: PaidOptions);
    kind: string;
    params: Record<string, unknown>;
    options: PaidOptions;
    models: ModelChoice[];
    provider: string | undefined;
    /**
     * Return one of the step's files by its name, for example `words` or `srt`.
     *
     * @param {string | number} name
     */
    output(name: string | number): Output;
    /**
     * Return the file of one candidate of a step with a count; the first has the number 1.
     *
     * @param {number} number
     */
    candidate(number: number): Output;
}
/** A file of a step. */
export class Output {
    /**
     * @param {Step} step
     * @param {{name?: string | number | undefined, optional?: boolean,
     *   candidate?: number | undefined}} choice
     */
    constructor(step: Step, choice: {
        name?: string | number | undefined;
        optional?: boolean;
        candidate?: number | undefined;
    });
    step: Step;
    choice: {
        name?: string | number | undefined;
        optional?: boolean;
        candidate?: number | undefined;
    };
}
/** A model, and the provider where several have one of this name. */
export class ModelChoice {
    /**
     * @param {string} id
     * @param {string} [provider]
     * @param {string} [kind]
     */
    constructor(id: string, provider?: string, kind?: string);
    id: string;
    provider: string | undefined;
    kind: string | undefined;
}
/**
 * A file that a step uses: that of another step, an asset, an address, or a reference.
 */
export type File = Step | Output | Media | {
    var: string;
};
export type Choice = ModelChoice | string | readonly (ModelChoice | string)[];
/**
 * What every step takes. name: in the plan; by default its kind and a number. needs: further steps
 * to wait for.
 */
export type StepOptions = {
    name?: string | undefined;
    needs?: readonly Step[] | undefined;
    onFailure?: "stop" | "continue" | undefined;
    deadlineSeconds?: number | undefined;
};
/**
 * What every paid step takes. model: a model, or a model and its alternatives. reuse: whether to
 * use the files of an equal earlier purchase. count: so many candidates, of which an approval step
 * chooses.
 */
export type PaidOptions = StepOptions & {
    model?: Choice | undefined;
    provider?: string;
    reuse?: boolean;
    count?: number;
};
import type { Media } from "./shapes.js";
