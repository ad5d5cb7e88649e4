// The webhook of the latest generation: its attempts, and sending it again.
import { post } from "../shared/api.js";
import { useEvents } from "../shared/events.js";
import { Button, Facts, Panel, Problem } from "../shared/parts.js";
import { useAction, useResource } from "../shared/resource.js";
import { may } from "../shared/session.js";
import { Status } from "../shared/status.js";
import { Time } from "../shared/time.js";
import { html } from "../shared/view.js";

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
    <ol class="attempts">${data?.attemptLog.map((attempt) => html`<li key=${`${attempt.delivery}/${attempt.number}`}>
      <${Time} at=${attempt.startedAt} form="clock" />
      <span>${outcome(attempt)}</span>
      ${attempt.responseExcerpt && html`<code class="wrap quiet">${attempt.responseExcerpt}</code>`}
    </li>`)}</ol>
    <${Problem} error=${resend.error} />
    ${may(session, "admin") && html`<div class="actions">
      <${Button} busy=${resend.busy} onClick=${resend.run}>Send again<//>
    </div>`}`;
}

function outcome({ statusCode, error, durationMs }) {
  if (durationMs === null) return "in progress";
  const answer = statusCode === null ? "no answer" : `answered ${statusCode}`;
  return `${answer} after ${durationMs} ms${error ? `: ${error}` : ""}`;
}
