// The session: its token is kept for this tab, and sent in a header that no other page can send.
import { get, post, remove, sendAlways } from "../shared/api.js";

const PATH = "/session";
const KEPT = "takeone-operator";

function use(token) {
  if (token) sessionStorage.setItem(KEPT, token);
  else sessionStorage.removeItem(KEPT);
  sendAlways(token ? { "X-Takeone-Operator": token } : {});
}

/** Log in with the ticket of a one-time link. Returns the session. */
export async function redeem(ticket) {
  const { token, session } = await post(PATH, { ticket });
  use(token);
  return session;
}

/** Return the session of this tab, or null. */
export async function resume() {
  use(sessionStorage.getItem(KEPT));
  return (await get(PATH)).session;
}

export async function leave() {
  await remove(PATH).catch(() => {});
  use(null);
}
