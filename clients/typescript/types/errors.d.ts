/** Errors of the client. Each error of a call has its idempotency key and request id. */
/**
 * @import {Schemas} from "./shapes.js"
 */
/** Any error of this package. */
export class TakeoneError extends Error {
    get name(): string;
}
/** The client lacks an API key or the address of the service. */
export class ConfigurationError extends TakeoneError {
}
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
    constructor(message: string, { idempotencyKey, requestId, cause }?: {
        idempotencyKey?: string | undefined;
        requestId?: string | undefined;
        cause?: unknown;
    });
    idempotencyKey: string | undefined;
    requestId: string | undefined;
}
/** No connection to the service; nothing was sent. */
export class ConnectError extends CallError {
}
/** The service did not answer in time. */
export class RequestTimeoutError extends CallError {
}
/** The connection ended before the answer was complete. A browser also reports no connection so. */
export class ConnectionLostError extends CallError {
}
/** The answer is not one of this API, for example the page of a proxy. */
export class UnusableAnswerError extends CallError {
}
/** A file arrived incomplete or damaged. */
export class DownloadError extends CallError {
}
/** The time to wait is over. The execution continues. */
export class WaitTimeoutError extends TakeoneError {
    /**
     * @param {string} executionId
     * @param {number} seconds
     */
    constructor(executionId: string, seconds: number);
    executionId: string;
}
/** The execution ended without a result: it failed or was cancelled. */
export class ExecutionFailedError extends TakeoneError {
    /** @param {Schemas["Execution"]} execution */
    constructor(execution: Schemas["Execution"]);
    execution: {
        completedJobs: string[];
        cost: import("../types/schema.js").components["schemas"]["Cost"];
        createdAt: string;
        currentJob: string | null;
        error: import("../types/schema.js").components["schemas"]["ErrorBody"] | null;
        eta: import("../types/schema.js").components["schemas"]["Eta"] | null;
        failedJobs: string[];
        generation: number;
        id: string;
        jobs: import("../types/schema.js").components["schemas"]["Job"][];
        metadata: {
            [key: string]: unknown;
        };
        progress: number;
        prompt: string | null;
        queue: import("../types/schema.js").components["schemas"]["Queue"] | null;
        result: {
            [key: string]: unknown;
        } | null;
        status: import("../types/schema.js").components["schemas"]["ExecutionStatus"];
        template: string | null;
        type: import("../types/schema.js").components["schemas"]["PlanType"];
        updatedAt: string;
        waitingFor: import("../types/schema.js").components["schemas"]["WaitingFor"][];
        webhook: import("../types/schema.js").components["schemas"]["Webhook"] | null;
    };
    code: string;
    retryable: boolean;
    /** In US dollars, as exact text. */
    spent: string;
}
/** The webhook is not signed with this secret, or it is too old. */
export class WebhookVerificationError extends TakeoneError {
}
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
    constructor(document: Record<string, unknown>, { status, retryAfter, idempotencyKey, requestId }: {
        status: number;
        retryAfter?: number | undefined;
        idempotencyKey?: string | undefined;
        requestId?: string | undefined;
    });
    status: number;
    document: Record<string, unknown>;
    code: string;
    title: string;
    detail: string;
    retryable: boolean;
    spent: string;
    /** @type {Schemas["FieldError"][]} */
    errors: Schemas["FieldError"][];
    retryAfter: number | undefined;
}
/** The API key is missing or not valid. */
export class AuthenticationError extends ProblemError {
}
/** The API key lacks a scope. */
export class ForbiddenError extends ProblemError {
}
/** The account has no such object. */
export class NotFoundError extends ProblemError {
}
/** The request is not valid; `errors` has each field with what is allowed. */
export class InvalidRequestError extends ProblemError {
}
/** The state of the object does not allow the call. */
export class ConflictError extends ProblemError {
}
/** A step may be bought a second time. `acceptPossibleDoubleCost: true` allows it. */
export class PossibleDoubleCostError extends ConflictError {
}
/** The possible cost is above a budget. */
export class BudgetError extends ProblemError {
}
/** The possible cost is above the `maxCost` of the call. */
export class MaxCostError extends BudgetError {
}
/** The possible cost is above what the API key may still spend; see `document.spendLimit`. */
export class KeySpendLimitError extends BudgetError {
}
/** Too many requests or open executions; see `retryAfter`. */
export class RateLimitError extends ProblemError {
}
/** The service or a part of it is unavailable. */
export class UnavailableError extends ProblemError {
}
/** The service failed. */
export class ServerError extends ProblemError {
}
import type { Schemas } from "./shapes.js";
