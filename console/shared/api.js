// The client of the HTTP API. The browser sends the session's cookie; no module sees a key.

/** A refused or failed request. `problem` is the service's document, with `code` and `errors`. */
export class ApiError extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `The service answered ${status}.`);
    this.status = status;
    this.problem = problem;
    this.code = problem.code ?? "";
  }

  /** Whether the service may have received the request although no answer came. */
  get isUncertain() {
    return this.status === 0 || this.status >= 500;
  }
}

const UNREACHABLE = {
  code: "unreachable",
  title: "The service cannot be reached.",
  detail: "The service cannot be reached. Check the connection, then try again.",
};

let onExpired = () => {};
let always = {};

/** Send these headers with every request from now on. */
export function sendAlways(headers) {
  always = headers;
}

/** Call `listener` when a request finds that the session has ended. */
export function whenSessionEnds(listener) {
  onExpired = listener;
}

/**
 * Send a request and return the parsed answer, or null for an empty one. Throws ApiError.
 *
 * body: an object, sent as JSON, or a FormData. key: the idempotency key of an order.
 */
export async function request(method, path, { body, key, signal } = {}) {
  const headers = { Accept: "application/json", "X-Takeone-Console": "1", ...always };
  const isForm = body instanceof FormData;
  if (method !== "GET" && !isForm) headers["Content-Type"] = "application/json";
  if (key) headers["Idempotency-Key"] = key;
  const payload = isForm || body === undefined ? body : JSON.stringify(body);
  let response;
  try {
    response = await fetch(path, { method, headers, body: payload, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, UNREACHABLE);
  }
  const text = await response.text().catch(() => "");
  if (response.ok) return text ? JSON.parse(text) : null;
  const error = new ApiError(response.status, problemOf(text, response.status));
  if (error.code === "unauthenticated" && !path.endsWith("/session")) onExpired();
  throw error;
}

export const get = (path, options) => request("GET", path, options);
export const post = (path, body, options) => request("POST", path, { body, ...options });
export const remove = (path) => request("DELETE", path);

/** Return a path with a query; parameters that are empty are left out, lists are repeated. */
export function withQuery(path, parameters) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const each of [value].flat()) {
      if (each !== undefined && each !== null && each !== "") query.append(name, each);
    }
  }
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

/** Return a key that names one order: the same order sent again is accepted once. */
export const newOrderKey = () => crypto.randomUUID();

function problemOf(text, status) {
  try {
    return JSON.parse(text);
  } catch {
    return { title: `The service answered ${status}.`, detail: "" };
  }
}
