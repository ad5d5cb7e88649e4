// Log in at the identity provider, or with an API key or a token, which are exchanged for a session.
import { Button, Problem } from "../shared/parts.js";
import { useAction } from "../shared/resource.js";
import { PROVIDER_LOGIN, logIn } from "../shared/session.js";
import { html } from "../shared/view.js";

/** keepsPage: the identity provider is opened in a tab of its own, so that this page is not lost. */
export function LoginForm({ problem, hasProvider, keepsPage, onLogin }) {
  const { run, busy, error } = useAction(async (credential) => onLogin(await logIn(credential)));
  const submit = (event) => {
    event.preventDefault();
    run(new FormData(event.currentTarget).get("credential").trim());
  };
  return html`<form class="stack" onSubmit=${submit}>
    ${hasProvider && html`<a class="button button-primary" href=${PROVIDER_LOGIN} target=${keepsPage ? "_blank" : undefined}>
        Log in with your identity provider</a>
      <p class="quiet">Or with an API key:</p>`}
    <div class="field">
      <label for="credential">API key or token</label>
      <input id="credential" name="credential" type="password" required autocomplete="off"
        autofocus=${!hasProvider} placeholder="tko_…" aria-describedby="credential-help" />
      <p id="credential-help" class="quiet">
        An API key of Takeone, or a token of your identity provider. It is exchanged for a session of
        12 hours and is not kept in the browser.
      </p>
    </div>
    <${Problem} error=${error ?? problem} />
    <${Button} kind=${hasProvider ? "" : "primary"} type="submit" busy=${busy}>Log in<//>
  </form>`;
}
