// The frame with the live sign and the account.
import { HOME, SCREENS } from "./screens.js";
import { LiveSign } from "./shared/events.js";
import { Frame } from "./shared/frame.js";
import { may } from "./shared/session.js";
import { html } from "./shared/view.js";

export function Shell({ session, onLogout }) {
  const tabs = SCREENS.filter(({ nav, scope }) => nav && (!scope || may(session, scope)));
  return html`<${Frame} brand="Takeone" screens=${SCREENS} tabs=${tabs} home=${HOME} session=${session}>
    <${LiveSign} />
    <span class="user" title=${session.user.id}>${session.user.name}</span>
    <button type="button" class="button button-quiet" onClick=${onLogout}>Log out</button>
  <//>`;
}
