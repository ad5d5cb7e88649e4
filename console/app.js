// The entry: finds the session, then shows the login, or the shell with the screen of the address.
import { LoginForm } from "./login/form.js";
import { LoginScreen } from "./login/screen.js";
import { Shell } from "./shell.js";
import { whenSessionEnds } from "./shared/api.js";
import { closeStream, openStream } from "./shared/events.js";
import { Dialog, Loading, Problem } from "./shared/parts.js";
import { logOut, readState, redeemTicket, takeOutcome, takeTicket, whenAnotherTabChanges } from "./shared/session.js";
import { html, render, useEffect, useState } from "./shared/view.js";

/** session: undefined while it is looked up, null without one. expired: ask for another login. */
function App() {
  const [state, setState] = useState({ session: undefined });
  const [attempt, setAttempt] = useState(0);
  useEffect(() => {
    whenSessionEnds(() => {
      closeStream();
      setState((last) => ({ ...last, expired: Boolean(last.session) }));
    });
    whenAnotherTabChanges(async () => {
      const read = await readState().catch(() => null);
      if (!read) return; // the next request shows how it is
      closeStream();
      setState({ ...read, notice: "You are logged out: another tab has ended the session." });
    });
    begin().then(setState);
  }, [attempt]);
  const { session, expired, identityProvider } = state;
  useEffect(() => {
    if (session) openStream();
  }, [session]);
  if (state.error) {
    const again = () => setAttempt(attempt + 1);
    return html`<main class="login"><${Problem} error=${state.error} again=${again} /></main>`;
  }
  if (session === undefined) return html`<main class="login"><${Loading} what="the console" /></main>`;
  if (session === null) {
    return html`<${LoginScreen} notice=${state.notice} problem=${state.problem} hasProvider=${identityProvider} onLogin=${setState} />`;
  }
  const leave = async () => {
    closeStream();
    await logOut();
    setState({ session: null, identityProvider, notice: "You are logged out." });
  };
  // The screen stays under the dialog, so a form that was being filled in is not lost.
  return html`<${Shell} key=${session.user.id} session=${session} onLogout=${leave} />
    ${expired && html`<${Dialog} title="The session has ended" onClose=${() => setState({ session: null, identityProvider })}>
      <${LoginForm} hasProvider=${identityProvider} keepsPage onLogin=${setState} />
    <//>`}`;
}

/** Return the first state: a session by a one-time link, by the cookie, or none. */
async function begin() {
  const ticket = takeTicket();
  const problem = takeOutcome();
  try {
    if (ticket) return await redeemTicket(ticket);
  } catch (refused) {
    return { ...(await readState().catch(() => ({ session: null }))), problem: refused };
  }
  try {
    return { ...(await readState()), problem };
  } catch (error) {
    return { error };
  }
}

render(html`<${App} />`, document.getElementById("app"));
