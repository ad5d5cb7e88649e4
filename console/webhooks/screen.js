// Endpoints that receive webhooks, and the log of deliveries.
import { post } from "../shared/api.js";
import { Button, Page, Panel, Problem } from "../shared/parts.js";
import { useAction, useResource } from "../shared/resource.js";
import { ShownOnce } from "../shared/secret.js";
import { may } from "../shared/session.js";
import { html, useState } from "../shared/view.js";
import { DeliveryLog } from "./deliveries.js";
import { Endpoints } from "./endpoints.js";

export default function WebhooksScreen({ query, session }) {
  const [secret, setSecret] = useState(null);
  const endpoints = useResource("/api/endpoints?limit=100");
  const isAdmin = may(session, "admin");
  return html`<${Page} title="Webhooks">
    ${secret && html`<${ShownOnce} what=${secret.of} secret=${secret.value} onDone=${() => setSecret(null)} />`}
    <${Problem} error=${endpoints.error} again=${endpoints.reload} />
    ${endpoints.data && html`<${Endpoints} list=${endpoints.data.data} isAdmin=${isAdmin}
      onSecret=${setSecret} onChange=${endpoints.reload} />`}
    <${DeliveryLog} query=${query} endpoints=${endpoints.data?.data ?? []} isAdmin=${isAdmin} />
    ${isAdmin && html`<${AccountSecret} onSecret=${setSecret} />`}
  <//>`;
}

function AccountSecret({ onSecret }) {
  const { run, busy, error } = useAction(async () => {
    const rotated = await post("/api/webhook-secret/rotate", { overlapHours: 24 });
    onSecret({ of: "the account's webhook secret", value: rotated.secret });
    scrollTo(0, 0);
  });
  return html`<${Panel} id="secret" title="The account's webhook secret">
    <p>It signs the webhooks of endpoints without a secret of their own. After a change, the present secret also signs for a day, so that receivers can follow.</p>
    <${Problem} error=${error} />
    <div class="actions"><${Button} busy=${busy} onClick=${run}>Make a new secret<//></div>
  <//>`;
}
