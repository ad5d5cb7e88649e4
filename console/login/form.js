// The form that exchanges an API key, or a token of the identity provider, for a session.
import { Button, Problem } from "../shared/parts.js";
import { useAction } from "../shared/resource.js";
import { logIn } from "../shared/session.js";
import { html } from "../shared/view.js";

export function LoginForm({ problem, onLogin }) {
  const { run, busy, error } = useAction(async (credential) => onLogin(await logIn(credential)));
  const submit = (event) => {
    event.preventDefault();
    run(new FormData(event.currentTarget).get("credential").trim());
  };
  return html`<form class="stack" onSubmit=${submit}>
    <div class="field">
      <label for="credential">API key or token</label>
      <input id="credential" name="credential" type="password" required autocomplete="off"
        autofocus placeholder="tko_…" aria-describedby="credential-help" />
      <p id="credential-help" class="quiet">
        An API key of Takeone, or a token of your identity provider. It is exchanged for a session of
        12 hours and is not kept in the browser.
      </p>
    </div>
    <${Problem} error=${error ?? problem} />
    <${Button} kind="primary" type="submit" busy=${busy}>Log in<//>
  </form>`;
}
