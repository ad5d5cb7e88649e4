/**
 * Return the error of a refusal. Its class follows from the code, else from the status.
 *
 * @param {Response} response
 * @param {string} body
 * @param {string} [idempotencyKey]
 */
export function problem(response: Response, body: string, idempotencyKey?: string): ProblemError;
/**
 * Return the members of a JSON object; none if it is not one.
 *
 * @param {string} text
 * @returns {Record<string, unknown>}
 */
export function jsonObject(text: string): Record<string, unknown>;
import { ProblemError } from "./errors.js";
