// The account's own keys at providers: set, test, delete.
import { post, remove, request } from "../shared/api.js";
import { Button, Panel, Problem } from "../shared/parts.js";
import { useAction, useResource } from "../shared/resource.js";
import { Time } from "../shared/time.js";
import { html } from "../shared/view.js";

const PATH = "/api/provider-keys";

export function ProviderKeys() {
  const keys = useResource(PATH);
  const models = useResource("/api/models");
  const providers = [...new Set((models.data?.data ?? []).map(({ provider }) => provider))].filter((name) => name !== "media");
  return html`<${Panel} id="provider-keys" title="Own keys at providers">
    <p class="quiet">With a key of your own, the provider bills you directly; the price is shown here all the same.</p>
    <${Problem} error=${keys.error} again=${keys.reload} />
    ${keys.data?.data.length === 0 && html`<p>None: the service's keys are used.</p>`}
    ${keys.data?.data.length > 0 && html`<div class="scroll"><table class="pile">
      <thead><tr><th>Provider</th><th>Key</th><th>State</th><th>Test</th><th></th></tr></thead>
      <tbody>${keys.data.data.map((key) => html`<${Row} key=${key.id} own=${key} onDone=${keys.reload} />`)}</tbody>
    </table></div>`}
    <${NewProviderKey} providers=${providers} onDone=${keys.reload} />
  <//>`;
}

function Row({ own, onDone }) {
  const path = `${PATH}/${own.provider}`;
  const test = useAction(async () => {
    await post(`${path}/test`);
    await onDone();
  });
  const erase = useAction(async () => {
    await remove(path);
    await onDone();
  });
  return html`<tr>
    <th scope="row">${own.provider}</th>
    <td data-label="Key"><code>…${own.hint}</code></td>
    <td data-label="State">${own.state}${own.openJobs > 0 ? `, ${own.openJobs} open` : ""}</td>
    <td data-label="Tested">${own.testedAt ? html`${own.testOutcome} <${Time} at=${own.testedAt} />` : "never"}
      <${Problem} error=${test.error ?? erase.error} /></td>
    <td>${own.state === "current" && html`<div class="actions">
      <${Button} busy=${test.busy} onClick=${test.run}>Test<//>
      <${Button} kind="danger" busy=${erase.busy} onClick=${erase.run}>Delete<//>
    </div>`}</td>
  </tr>`;
}

function NewProviderKey({ providers, onDone }) {
  const { run, busy, error } = useAction(async (form) => {
    const body = { key: form.elements.key.value.trim() };
    await request("PUT", `${PATH}/${form.elements.provider.value}`, { body });
    form.reset();
    await onDone();
  });
  const submit = (event) => {
    event.preventDefault();
    run(event.currentTarget);
  };
  return html`<form class="row" onSubmit=${submit}>
    <select name="provider" aria-label="Provider">${providers.map((name) => html`<option>${name}</option>`)}</select>
    <input name="key" type="password" required minlength="16" maxlength="512" autocomplete="off" aria-label="Key at the provider" placeholder="key at the provider" />
    <${Button} type="submit" busy=${busy}>Use this key<//>
    <${Problem} error=${error} />
  </form>`;
}
