/** Verification of received webhooks: Standard Webhooks, with the secrets of this service. */

import { WebhookVerificationError } from "./errors.js";
import { jsonObject } from "./problems.js";

/**
 * @import {Result, Schemas} from "./shapes.js"
 */

const TOLERANCE_SECONDS = 300;
const PREFIX = "whsec_";

/**
 * An event. The members after `timestamp` are those of types that begin with `execution.`.
 *
 * @typedef {object} WebhookEvent
 * @property {string} id
 * @property {string} type
 * @property {string} timestamp
 * @property {string} [executionId]
 * @property {number} [generation]
 * @property {number} [sequence] The highest is the latest of the execution.
 * @property {Schemas["ExecutionStatus"]} [status]
 * @property {Result | null} [result]
 * @property {Schemas["ErrorBody"] | null} [error]
 * @property {Schemas["Cost"]} [cost]
 * @property {Record<string, unknown>} [metadata]
 */

/**
 * Return the event of a webhook.
 *
 * body: as it arrived. secret: the signing secret; several while one is being replaced. Throw
 * WebhookVerificationError if no secret has signed it, or if it is older than five minutes. A
 * webhook arrives at least once: drop repeats by the event's `id`.
 *
 * @param {string | Uint8Array} body
 * @param {Headers | Record<string, string | string[] | undefined>} headers
 * @param {string | readonly string[]} secret
 * @param {{now?: number}} [options] now: Unix time in seconds
 * @returns {Promise<WebhookEvent>}
 */
export async function verifyWebhook(body, headers, secret, { now = Date.now() / 1000 } = {}) {
  const id = header(headers, "webhook-id");
  const timestamp = header(headers, "webhook-timestamp");
  const signatures = header(headers, "webhook-signature").split(" ");
  if (!/^\d{1,12}$/.test(timestamp)) {
    throw new WebhookVerificationError("The header webhook-timestamp is malformed.");
  }
  const age = now - Number(timestamp);
  if (Math.abs(age) > TOLERANCE_SECONDS) {
    const seconds = Math.round(age);
    throw new WebhookVerificationError(`The webhook was sent ${seconds} s ago; 300 are allowed.`);
  }
  const content = typeof body === "string" ? new TextEncoder().encode(body) : body;
  const head = new TextEncoder().encode(`${id}.${timestamp}.`);
  const signed = new Uint8Array(head.length + content.length);
  signed.set(head);
  signed.set(content, head.length);
  for (const each of typeof secret === "string" ? [secret] : secret) {
    if (await isSigned(signed, signatures, keyOf(each))) return event(content);
  }
  throw new WebhookVerificationError("The webhook is not signed with this secret.");
}

/**
 * @param {Uint8Array<ArrayBuffer>} signed
 * @param {string[]} signatures
 * @param {Uint8Array<ArrayBuffer>} secret
 */
async function isSigned(signed, signatures, secret) {
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", secret, algorithm, false, ["verify"]);
  for (const signature of signatures) {
    if (!signature.startsWith("v1,")) continue;
    const bytes = fromBase64(signature.slice("v1,".length));
    // WebCrypto compares in constant time.
    if (bytes && (await crypto.subtle.verify("HMAC", key, bytes, signed))) return true;
  }
  return false;
}

/**
 * Return the key of a secret. With an empty one, anyone could sign.
 *
 * @param {string} secret
 */
function keyOf(secret) {
  const encoded = secret.startsWith(PREFIX);
  const key = encoded ? fromBase64(secret.slice(PREFIX.length)) : new TextEncoder().encode(secret);
  if (!key) {
    throw new WebhookVerificationError("The part after whsec_ of the secret is not base64.");
  }
  if (!key.length) throw new WebhookVerificationError("The secret is empty.");
  return key;
}

/** @param {string} text */
function fromBase64(text) {
  try {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  } catch {
    return undefined;
  }
}

/**
 * @param {Headers | Record<string, string | string[] | undefined>} headers
 * @param {string} name
 */
function header(headers, name) {
  let value;
  if (headers instanceof Headers) value = headers.get(name);
  else {
    const found = Object.entries(headers).find(([each]) => each.toLowerCase() === name);
    value = Array.isArray(found?.[1]) ? found[1].join(" ") : found?.[1];
  }
  if (!value) throw new WebhookVerificationError(`The webhook lacks the header ${name}.`);
  return value;
}

/** @param {Uint8Array} content */
function event(content) {
  const document = jsonObject(new TextDecoder().decode(content));
  if (typeof document.id !== "string" || typeof document.type !== "string") {
    throw new WebhookVerificationError("The body of the webhook is not an event.");
  }
  return /** @type {any} */ (document);
}
