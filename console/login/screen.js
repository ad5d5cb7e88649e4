// The page without a session.
import { Notice } from "../shared/parts.js";
import { html, useEffect } from "../shared/view.js";
import { LoginForm } from "./form.js";

export function LoginScreen({ notice, problem, hasProvider, onLogin }) {
  useEffect(() => {
    document.title = "Log in · Takeone";
  }, []);
  return html`<main class="login">
    <div class="panel">
      <h1><span class="brand-mark" aria-hidden="true"></span>Takeone</h1>
      ${notice && html`<${Notice}>${notice}<//>`}
      <${LoginForm} problem=${problem} hasProvider=${hasProvider} onLogin=${onLogin} />
    </div>
  </main>`;
}
