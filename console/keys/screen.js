// API keys with scopes and spend limits, and the account's own keys at providers.
import { request, remove } from "../shared/api.js";
import { dollars } from "../shared/money.js";
import { Button, Dialog, Facts, Loading, Page, Panel, Problem } from "../shared/parts.js";
import { useAction, useResource } from "../shared/resource.js";
import { ShownOnce } from "../shared/secret.js";
import { Time } from "../shared/time.js";
import { html, useState } from "../shared/view.js";
import { LimitDialog, NewKeyDialog } from "./dialogs.js";
import { ProviderKeys } from "./provider-keys.js";

const PATH = "/api/keys";

export default function KeysScreen({ session }) {
  const { data, error, reload } = useResource(PATH);
  const [made, setMade] = useState(null);
  const [dialog, setDialog] = useState(null);
  const close = () => setDialog(null);
  const done = async (key) => {
    close();
    if (key?.apiKey) setMade(key);
    await reload();
  };
  const create = async (body) => done(await request("POST", PATH, { body }));
  const limit = async (key, spendLimit) => done(await request("PATCH", `${PATH}/${key.id}`, { body: { spendLimit } }));
  const revoke = async (key) => done(await remove(`${PATH}/${key.id}`));
  const aside = html`<${Button} kind="primary" onClick=${() => setDialog({ name: "new" })}>New key …<//>`;
  return html`<${Page} title="Keys" aside=${aside}>
    ${made && html`<${ShownOnce} what=${`the key “${made.name}”`} secret=${made.apiKey} onDone=${() => setMade(null)} />`}
    <${Problem} error=${error} again=${reload} />
    ${!data && !error && html`<${Loading} what="keys" />`}
    ${data && html`<${Panel} id="keys" title="API keys"><div class="scroll"><table class="pile">
      <thead><tr><th>Name</th><th>May</th><th>Spent</th><th>Last used</th><th></th></tr></thead>
      <tbody>${data.data.map((key) => html`<${Row} key=${key.id} apiKey=${key} onDialog=${setDialog} />`)}</tbody>
    </table></div><//>`}
    <${ProviderKeys} />
    ${dialog?.name === "new" && html`<${NewKeyDialog} session=${session} onClose=${close} onCreate=${create} />`}
    ${dialog?.name === "limit" && html`<${LimitDialog} apiKey=${dialog.key} onClose=${close} onChange=${limit} />`}
    ${dialog?.name === "revoke" && html`<${RevokeDialog} apiKey=${dialog.key} onClose=${close} onRevoke=${revoke} />`}
  <//>`;
}

function Row({ apiKey, onDialog }) {
  const { name, prefix, scopes, spending, spendLimit, lastUsedAt } = apiKey;
  const ended = endOf(apiKey);
  return html`<tr class=${ended ? "orphan" : ""}>
    <th scope="row" class="wrap">${name}<br /><code class="quiet">tko_${prefix}…</code></th>
    <td data-label="May">${scopes.join(", ")}</td>
    <td data-label="Spent">${dollars(spending.month.settled)} <span class="quiet">this month</span>
      ${spendLimit && html`<br /><span class="quiet">${limitWords(spendLimit)}</span>`}</td>
    <td data-label="Last used">${lastUsedAt ? html`<${Time} at=${lastUsedAt} />` : "never"}</td>
    <td>${ended ?? html`<div class="actions">
      ${!scopes.includes("admin") && html`<${Button} onClick=${() => onDialog({ name: "limit", key: apiKey })}>Limit …<//>`}
      <${Button} kind="danger" onClick=${() => onDialog({ name: "revoke", key: apiKey })}>Revoke …<//>
    </div>`}</td>
  </tr>`;
}

function endOf({ revokedAt, expiresAt }) {
  if (revokedAt) return html`revoked <${Time} at=${revokedAt} />`;
  if (expiresAt && Date.parse(expiresAt) < Date.now()) return html`expired <${Time} at=${expiresAt} />`;
  return null;
}

const limitWords = ({ daily, monthly }) =>
  [daily && `${dollars(daily)} a day`, monthly && `${dollars(monthly)} a month`].filter(Boolean).join(", ");

function RevokeDialog({ apiKey, onClose, onRevoke }) {
  const { run, busy, error } = useAction(() => onRevoke(apiKey));
  return html`<${Dialog} title="Revoke this key?" onClose=${onClose}>
    <${Facts} items=${[["Key", apiKey.name], ["Last used", apiKey.lastUsedAt ? html`<${Time} at=${apiKey.lastUsedAt} />` : "never"]]} />
    <p class="quiet">Its next request is refused. What it has ordered goes on.</p>
    <${Problem} error=${error} />
    <div class="actions">
      <${Button} onClick=${onClose}>Keep it<//>
      <${Button} kind="danger" busy=${busy} onClick=${run}>Revoke it<//>
    </div>
  <//>`;
}
