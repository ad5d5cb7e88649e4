// The session: the server keeps it in a cookie that this code cannot read.
import { post, remove, request } from "./api.js";

const PATH = "/console/session";
const tabs = new BroadcastChannel("takeone.session"); // all tabs share the cookie

/** Return the session, or null without a login. */
export const readSession = async () => (await request("GET", PATH)).session;

/** Log in with an API key or a token. Returns the session. */
export const logIn = (credential) => open({ credential });

/** Log in with the ticket of a one-time link. Returns the session. */
export const redeemTicket = (ticket) => open({ ticket });

async function open(body) {
  const { session } = await post(PATH, body);
  tabs.postMessage("changed");
  return session;
}

export async function logOut() {
  await remove(PATH).catch(() => {});
  tabs.postMessage("changed");
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
