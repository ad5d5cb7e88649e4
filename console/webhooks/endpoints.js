// The endpoints of the account: their state, and what can be done with each.
import { post, remove } from "../shared/api.js";
import { Button, Dialog, Empty, Panel, Problem } from "../shared/parts.js";
import { useAction } from "../shared/resource.js";
import { navigate } from "../shared/router.js";
import { Time } from "../shared/time.js";
import { html, useState } from "../shared/view.js";

const PATH = "/api/endpoints";

export function Endpoints({ list, isAdmin, onSecret, onChange }) {
  return html`<${Panel} id="endpoints" title="Endpoints">
    ${list.length === 0 && html`<${Empty}><p>No address receives webhooks yet.</p>
      <p>A default endpoint receives the webhook of every order that names none.</p><//>`}
    ${list.length > 0 && html`<div class="scroll"><table class="pile">
      <thead><tr><th>Address</th><th>State</th><th>Last success</th><th></th></tr></thead>
      <tbody>${list.map((each) => html`<${Row} key=${each.id} endpoint=${each} isAdmin=${isAdmin} onSecret=${onSecret} onChange=${onChange} />`)}</tbody>
    </table></div>`}
    ${isAdmin && html`<${NewEndpoint} onChange=${onChange} />`}
  <//>`;
}

function Row({ endpoint, isAdmin, onSecret, onChange }) {
  const path = `${PATH}/${endpoint.id}`;
  const [asked, setAsked] = useState(false);
  const isEnabled = endpoint.state === "enabled";
  const change = useAction(async () => {
    await post(`${path}/${isEnabled ? "disable" : "enable"}`);
    await onChange();
  });
  const test = useAction(async () => {
    const sent = await post(`${path}/test`);
    navigate("webhooks", { event: sent.id });
  });
  const rotate = useAction(async () => {
    const rotated = await post(`${path}/rotate-secret`, { overlapHours: 24 });
    onSecret({ of: `the secret of ${endpoint.url}`, value: rotated.secret });
    scrollTo(0, 0);
    await onChange();
  });
  return html`<tr>
    <th scope="row" class="wrap">${endpoint.url}
      ${endpoint.default && html` <span class="tag">default</span>`}
      ${endpoint.description && html`<br /><span class="quiet">${endpoint.description}</span>`}</th>
    <td data-label="State">${stateWords(endpoint)}</td>
    <td data-label="Last success">${endpoint.lastSuccessAt ? html`<${Time} at=${endpoint.lastSuccessAt} />` : "never"}</td>
    <td>${isAdmin && html`<div class="actions">
      <${Button} busy=${test.busy} disabled=${!isEnabled} onClick=${test.run}>Test<//>
      <${Button} busy=${rotate.busy} onClick=${rotate.run}>New secret<//>
      <${Button} busy=${change.busy} onClick=${change.run}>${isEnabled ? "Disable" : "Enable"}<//>
      <${Button} kind="danger" onClick=${() => setAsked(true)}>Delete …<//>
    </div>`}
    <${Problem} error=${test.error ?? change.error ?? rotate.error} />
    ${asked && html`<${DeleteDialog} endpoint=${endpoint} path=${path} onClose=${() => setAsked(false)} onChange=${onChange} />`}</td>
  </tr>`;
}

const REASONS = { user: "by request", gone: "its receiver is gone (410)", failing: "only failures for days" };

function stateWords({ state, disabledReason, failingSince }) {
  if (state === "disabled") return `disabled: ${REASONS[disabledReason] ?? disabledReason}`;
  return failingSince ? html`fails since <${Time} at=${failingSince} form="short" />` : "enabled";
}

function DeleteDialog({ endpoint, path, onClose, onChange }) {
  const { run, busy, error } = useAction(async () => {
    await remove(path);
    onClose();
    await onChange();
  });
  return html`<${Dialog} title="Delete this endpoint?" onClose=${onClose}>
    <p class="wrap">${endpoint.url}</p>
    <p class="quiet">Its pending webhooks fail, its secrets are erased, its log stays.</p>
    <${Problem} error=${error} />
    <div class="actions">
      <${Button} onClick=${onClose}>Keep it<//>
      <${Button} kind="danger" busy=${busy} onClick=${run}>Delete it<//>
    </div>
  <//>`;
}

function NewEndpoint({ onChange }) {
  const { run, busy, error } = useAction(async (form) => {
    await post(PATH, { url: form.elements.url.value.trim(), default: form.elements.standard.checked });
    form.reset();
    await onChange();
  });
  const submit = (event) => {
    event.preventDefault();
    run(event.currentTarget);
  };
  return html`<form class="row" onSubmit=${submit}>
    <input name="url" type="url" required placeholder="https://" aria-label="Address of the new endpoint" />
    <label class="check"><input name="standard" type="checkbox" /> default</label>
    <${Button} type="submit" busy=${busy}>Add endpoint<//>
    <${Problem} error=${error} />
  </form>`;
}
