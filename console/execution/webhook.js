// The webhook of the latest generation: its attempts, and sending it again.
import { post } from "../shared/api.js";
import { useEvents } from "../shared/events.js";
import { Button, Facts, Panel, Problem } from "../shared/parts.js";
import { useAction, useResource } from "../shared/resource.js";
import { may } from "../shared/session.js";
import { Status } from "../shared/status.js";
import { html } from "../shared/view.js";
import { Attempts } from "../webhooks/attempts.js";

export function WebhookPanel({ execution, session }) {
  const { webhook } = execution;
  if (!webhook) return null;
  return html`<${Panel} id="webhook" title="Webhook" aside=${webhook.state && html`<${Status} state=${webhook.state} />`}>
    <${Facts} items=${[["To", html`<code class="wrap">${webhook.url}</code>`]]} />
    ${webhook.eventId
      ? html`<${Deliveries} key=${webhook.eventId} eventId=${webhook.eventId} session=${session} />`
      : html`<p class="quiet">It is sent when the execution has ended.</p>`}
  <//>`;
}

function Deliveries({ eventId, session }) {
  const path = `/api/webhooks/${eventId}`;
  const { data, error, reload } = useResource(path);
  useEvents((event) => event.eventId === eventId && reload());
  const resend = useAction(async () => {
    await post(`${path}/resend`);
    await reload();
  });
  return html`
    <${Problem} error=${error} again=${reload} />
    ${data && html`<${Attempts} log=${data.attemptLog} />`}
    <${Problem} error=${resend.error} />
    ${may(session, "admin") && html`<div class="actions">
      <${Button} busy=${resend.busy} onClick=${resend.run}>Send again<//>
    </div>`}`;
}
