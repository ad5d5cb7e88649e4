/** Errors of the client. Each error of a call has its idempotency key and request id. */

/**
 * @import {Schemas} from "./shapes.js"
 */

/** Any error of this package. */
export class TakeoneError extends Error {
  get name() {
    return this.constructor.name;
  }
}

/** The client lacks an API key or the address of the service. */
export class ConfigurationError extends TakeoneError {}

/**
 * A call failed.
 *
 * idempotencyKey: of a call that may have been accepted. The same call with this key returns the
 * accepted execution, and buys nothing twice.
 */
export class CallError extends TakeoneError {
  /**
   * @param {string} message
   * @param {{idempotencyKey?: string | undefined, requestId?: string | undefined,
   *   cause?: unknown}} [details]
   */
  constructor(message, { idempotencyKey, requestId, cause } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.idempotencyKey = idempotencyKey;
    this.requestId = requestId;
  }
}

/** No connection to the service; nothing was sent. */
export class ConnectError extends CallError {}

/** The service did not answer in time. */
export class RequestTimeoutError extends CallError {}

/** The connection ended before the answer was complete. A browser also reports no connection so. */
export class ConnectionLostError extends CallError {}

/** The answer is not one of this API, for example the page of a proxy. */
export class UnusableAnswerError extends CallError {}

/** A file arrived incomplete or damaged. */
export class DownloadError extends CallError {}

/** The time to wait is over. The execution continues. */
export class WaitTimeoutError extends TakeoneError {
  /**
   * @param {string} executionId
   * @param {number} seconds
   */
  constructor(executionId, seconds) {
    super(`${executionId} has not ended after ${seconds} s; it continues.`);
    this.executionId = executionId;
  }
}

/** The execution ended without a result: it failed or was cancelled. */
export class ExecutionFailedError extends TakeoneError {
  /** @param {Schemas["Execution"]} execution */
  constructor(execution) {
    const { error, status } = execution;
    super(`${execution.id} has ended: ${error ? `${error.code}: ${error.message}` : status}`);
    this.execution = execution;
    this.code = error?.code ?? status;
    this.retryable = error?.["retryable"] === true;
    /** In US dollars, as exact text. */
    this.spent = execution.cost.settled;
  }
}

/** The webhook is not signed with this secret, or it is too old. */
export class WebhookVerificationError extends TakeoneError {}

/**
 * The service refused the call with a problem document (RFC 9457).
 *
 * code: one of the closed list of failure codes. retryable: the same call may succeed later. spent:
 * what the call has cost, as exact text. errors: each invalid field. retryAfter: in seconds.
 */
export class ProblemError extends CallError {
  /**
   * @param {Record<string, unknown>} document
   * @param {{status: number, retryAfter?: number | undefined, idempotencyKey?: string | undefined,
   *   requestId?: string | undefined}} details
   */
  constructor(document, { status, retryAfter, idempotencyKey, requestId }) {
    const { code, title, detail, spent } = document;
    const errors = Array.isArray(document.errors) ? document.errors : [];
    const reasons = [
      title ?? `HTTP status ${status}`,
      detail,
      ...errors.map((each) => `${each.field}: ${each.detail}`),
    ];
    const sentences = reasons.filter(Boolean).map((each) => String(each).replace(/\.$/, ""));
    super(`${sentences.join(". ")} (${code ?? "unknown"})`, {
      idempotencyKey,
      requestId: requestId ?? (document.requestId ? String(document.requestId) : undefined),
    });
    this.status = status;
    this.document = document;
    this.code = String(code ?? "unknown");
    this.title = String(title ?? `HTTP status ${status}`);
    this.detail = String(detail ?? "");
    this.retryable = document.retryable === true;
    this.spent = String(spent ?? "0");
    /** @type {Schemas["FieldError"][]} */
    this.errors = errors;
    this.retryAfter = retryAfter;
  }
}

/** The API key is missing or not valid. */
export class AuthenticationError extends ProblemError {}

/** The API key lacks a scope. */
export class ForbiddenError extends ProblemError {}

/** The account has no such object. */
export class NotFoundError extends ProblemError {}

/** The request is not valid; `errors` has each field with what is allowed. */
export class InvalidRequestError extends ProblemError {}

/** The state of the object does not allow the call. */
export class ConflictError extends ProblemError {}

/** A step may be bought a second time. `acceptPossibleDoubleCost: true` allows it. */
export class PossibleDoubleCostError extends ConflictError {}

/** The possible cost is above a budget. */
export class BudgetError extends ProblemError {}

/** The possible cost is above the `maxCost` of the call. */
export class MaxCostError extends BudgetError {}

/** The possible cost is above what the API key may still spend; see `document.spendLimit`. */
export class KeySpendLimitError extends BudgetError {}

/** Too many requests or open executions; see `retryAfter`. */
export class RateLimitError extends ProblemError {}

/** The service or a part of it is unavailable. */
export class UnavailableError extends ProblemError {}

/** The service failed. */
export class ServerError extends ProblemError {}
