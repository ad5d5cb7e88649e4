/** Refusals as errors. */

import {
  AuthenticationError,
  BudgetError,
  ConflictError,
  ForbiddenError,
  InvalidRequestError,
  KeySpendLimitError,
  MaxCostError,
  NotFoundError,
  PossibleDoubleCostError,
  ProblemError,
  RateLimitError,
  ServerError,
  UnavailableError,
} from "./errors.js";

/** @type {Readonly<Record<string, typeof ProblemError>>} */
const BY_CODE = {
  key_spend_limit_exceeded: KeySpendLimitError,
  max_cost_exceeded: MaxCostError,
  possible_double_cost: PossibleDoubleCostError,
};

/** @type {Readonly<Record<number, typeof ProblemError>>} */
const BY_STATUS = {
  400: InvalidRequestError,
  401: AuthenticationError,
  402: BudgetError,
  403: ForbiddenError,
  404: NotFoundError,
  409: ConflictError,
  413: InvalidRequestError,
  415: InvalidRequestError,
  422: InvalidRequestError,
  429: RateLimitError,
  503: UnavailableError,
};

/**
 * Return the error of a refusal. Its class follows from the code, else from the status.
 *
 * @param {Response} response
 * @param {string} body
 * @param {string} [idempotencyKey]
 */
export function problem(response, body, idempotencyKey) {
  const document = jsonObject(body);
  const { status, headers } = response;
  const fallback = status >= 500 ? ServerError : ProblemError;
  const code = String(document.code ?? "");
  const kind = (Object.hasOwn(BY_CODE, code) ? BY_CODE[code] : BY_STATUS[status]) ?? fallback;
  const wait = headers.get("retry-after");
  return new kind(document, {
    status,
    retryAfter: wait && /^\d{1,9}$/.test(wait) ? Number(wait) : undefined,
    idempotencyKey,
    requestId: headers.get("x-request-id") ?? undefined,
  });
}

/**
 * Return the members of a JSON object; none if it is not one.
 *
 * @param {string} text
 * @returns {Record<string, unknown>}
 */
export function jsonObject(text) {
  try {
    const value = JSON.parse(text);
    return value !== null && typeof value === "object" && !Array.isArray(value) ? value : {};
  } catch {
    return {};
  }
}
