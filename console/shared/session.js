// The session: the server keeps it in a cookie that this code cannot read.
import { post, remove, request } from "./api.js";

const PATH = "/console/session";

/** Return the session, or null without a login. */
export const readSession = async () => (await request("GET", PATH)).session;

/** Log in with an API key or a token. Returns the session. */
export const logIn = async (credential) => (await post(PATH, { credential })).session;

/** Log in with the ticket of a one-time link. Returns the session. */
export const redeemTicket = async (ticket) => (await post(PATH, { ticket })).session;

export const logOut = () => remove(PATH);

/** Take the ticket out of the address, so that neither the history nor a copy has it. */
export function takeTicket() {
  const found = /^#ticket=([\w.-]+)$/.exec(location.hash);
  if (found) history.replaceState(null, "", location.pathname);
  return found?.[1] ?? null;
}

export const may = (session, scope) => session.scopes.includes(scope);
