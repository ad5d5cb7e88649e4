// A secret that the service shows once.
import { Button, Copy, Notice } from "./parts.js";
import { html } from "./view.js";

/** what: its name in a sentence. `onDone` forgets it. */
export const ShownOnce = ({ what, secret, onDone }) =>
  html`<${Notice} kind="warn">
    <p><strong>This is the only time that ${what} is shown.</strong> Copy it now.</p>
    <${Copy} text=${secret} />
    <${Button} onClick=${onDone}>I have stored it<//>
  <//>`;
