// The entry of the operator's console: a session by a one-time link, then the screen of the address.
import { whenSessionEnds } from "../shared/api.js";
import { Frame } from "../shared/frame.js";
import { Loading, Notice, Problem } from "../shared/parts.js";
import { takeTicket } from "../shared/session.js";
import { html, render, useEffect, useState } from "../shared/view.js";
import { HOME, SCREENS } from "./screens.js";
import { leave, redeem, resume } from "./session.js";

/** session: undefined while it is looked up, null without one. */
function App() {
  const [state, setState] = useState({ session: undefined });
  useEffect(() => {
    whenSessionEnds(() => setState({ session: null, notice: "The session has ended." }));
    begin().then(setState);
    const onLink = () => location.hash.startsWith("#ticket=") && begin().then(setState);
    addEventListener("hashchange", onLink);
    return () => removeEventListener("hashchange", onLink);
  }, []);
  const { session, notice, problem } = state;
  if (session === undefined) return html`<main class="login"><${Loading} what="the console" /></main>`;
  if (session === null) return html`<${Entrance} notice=${notice} problem=${problem} />`;
  const onLeave = async () => {
    await leave();
    setState({ session: null, notice: "You are logged out." });
  };
  return html`<${Frame} brand="Takeone operator" screens=${SCREENS} tabs=${SCREENS} home=${HOME} session=${session}>
    <span class="user" title=${session.actor}>${session.actor}</span>
    <button type="button" class="button button-quiet" onClick=${onLeave}>Log out</button>
  <//>`;
}

async function begin() {
  const ticket = takeTicket();
  try {
    return { session: ticket ? await redeem(ticket) : await resume() };
  } catch (problem) {
    return { session: await resume().catch(() => null), problem };
  }
}

function Entrance({ notice, problem }) {
  useEffect(() => {
    document.title = "Log in · Takeone operator";
  }, []);
  return html`<main class="login"><div class="panel">
    <h1><span class="brand-mark" aria-hidden="true"></span>Takeone operator</h1>
    ${notice && html`<${Notice}>${notice}<//>`}
    <${Problem} error=${problem} />
    <p>Print a link on the machine of this console, and open it here. It works once.</p>
    <p><code>takeone-admin console-link</code></p>
  </div></main>`;
}

render(html`<${App} />`, document.getElementById("app"));
