// The session: the server keeps it in a cookie that this code cannot read.
import { post, remove, request } from "./api.js";

const PATH = "/console/session";
const tabs = new BroadcastChannel("takeone.session"); // all tabs share the cookie

/** Return `{ session, identityProvider }`. session: null without a login. identityProvider: whether it can log in. */
export const readState = () => request("GET", PATH);

/** Log in with an API key or a token. Returns the same. */
export const logIn = (credential) => open({ credential });

/** Log in with the ticket of a one-time link. Returns the same. */
export const redeemTicket = (ticket) => open({ ticket });

async function open(body) {
  const state = await post(PATH, body);
  tabs.postMessage("changed");
  return state;
}

export async function logOut() {
  await remove(PATH).catch(() => {});
  tabs.postMessage("changed");
}

/** The page that logs in at the identity provider, and comes back with the outcome. */
export const PROVIDER_LOGIN = "/console/oidc/login";

const OUTCOMES = {
  denied: "The identity provider has not logged you in. Try again, or use an API key.",
  expired: "The login took too long, or began in another browser. Try again.",
  refused: "The answer of the identity provider is not valid. Try again. If it happens again, ask the operator to check the OIDC settings.",
  unknown: "No account is linked to your login at the identity provider. Ask the operator to link it.",
  unavailable: "The identity provider cannot be reached. Try again later, or use an API key.",
  limited: "Too many logins. Wait a minute, then try again.",
};

/** Return the problem of a login at the identity provider that has just ended, or null. */
export function takeOutcome() {
  const found = /^#login=(\w+)$/.exec(location.hash)?.[1];
  if (!found) return null;
  history.replaceState(null, "", location.pathname);
  if (found !== "done") return new Error(OUTCOMES[found] ?? "The login has failed. Try again.");
  tabs.postMessage("changed");
  return null;
}

/** Call `listener` when another tab has logged in or out. */
export function whenAnotherTabChanges(listener) {
  tabs.onmessage = listener;
}

/** Take the ticket out of the address, so that neither the history nor a copy has it. */
export function takeTicket() {
  const found = /^#ticket=([\w.-]+)$/.exec(location.hash);
  if (found) history.replaceState(null, "", location.pathname);
  return found?.[1] ?? null;
}

export const may = (session, scope) => session.scopes.includes(scope);
