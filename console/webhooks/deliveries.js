// The log of webhooks: filters, one webhook with its body and attempts, and sending again.
import { post } from "../shared/api.js";
import { useEvents } from "../shared/events.js";
import { shortId } from "../shared/execution.js";
import { usePages } from "../shared/pages.js";
import { Button, Dialog, Empty, Facts, Loading, Panel, Problem } from "../shared/parts.js";
import { useAction, useDebounced, useResource } from "../shared/resource.js";
import { href, replaceQuery } from "../shared/router.js";
import { Status } from "../shared/status.js";
import { Time } from "../shared/time.js";
import { html, useEffect } from "../shared/view.js";
import { Attempts } from "./attempts.js";

const STATES = ["", "pending", "delivered", "failed"];
const READ_AGAIN_MS = 500;
const PENDING_READ_MS = 2000;

export function DeliveryLog({ query, endpoints, isAdmin }) {
  const list = usePages("/api/webhooks", { state: query.state, endpointId: query.endpoint });
  const readAgain = useDebounced(list.reload, READ_AGAIN_MS);
  useEvents((event) => (event.type === "refresh" || event.type === "changed" || event.eventId) && readAgain());
  const show = (changes) => replaceQuery("webhooks", { ...query, ...changes });
  return html`<${Panel} id="log" title="Deliveries" aside=${isAdmin && query.state === "failed" && html`<${ResendDay} endpointId=${query.endpoint} onDone=${list.reload} />`}>
    <div class="filters">
      <div class="choices" role="group" aria-label="State">${STATES.map((state) => html`
        <button type="button" aria-pressed=${(query.state ?? "") === state} onClick=${() => show({ state })}>${state ? state[0].toUpperCase() + state.slice(1) : "All"}</button>`)}</div>
      <select aria-label="Endpoint" value=${query.endpoint ?? ""} onChange=${(event) => show({ endpoint: event.target.value })}>
        <option value="">Every endpoint</option>
        ${endpoints.map(({ id, url }) => html`<option value=${id}>${url}</option>`)}
      </select>
    </div>
    <${Problem} error=${list.error} again=${list.reload} />
    ${!list.items && !list.error && html`<${Loading} what="deliveries" />`}
    ${list.items?.length === 0 && html`<${Empty}><p>No webhook matches.</p><//>`}
    ${list.items?.length > 0 && html`<div class="scroll"><table class="pile">
      <thead><tr><th>Event</th><th>State</th><th class="number">Attempts</th><th>Last answer</th><th>When</th></tr></thead>
      <tbody>${list.items.map((each) => html`<${Row} key=${each.id} webhook=${each} onShow=${() => show({ event: each.id })} />`)}</tbody>
    </table></div>`}
    ${list.hasMore && html`<p class="more"><${Button} onClick=${list.more}>Show more<//></p>`}
    ${query.event && html`<${OneWebhook} key=${query.event} eventId=${query.event} isAdmin=${isAdmin} onClose=${() => show({ event: "" })} />`}
  <//>`;
}

function Row({ webhook, onShow }) {
  return html`<tr>
    <th scope="row"><button type="button" class="link" onClick=${onShow}>${webhook.type}</button>
      ${webhook.executionId && html`<br /><a class="quiet" href=${href(`executions/${webhook.executionId}`)}>execution ${shortId(webhook.executionId)}</a>`}</th>
    <td><${Status} state=${webhook.state} /></td>
    <td class="number" data-label="Attempts">${webhook.attempts}</td>
    <td class="wrap" data-label="Last answer">${webhook.lastStatusCode ?? webhook.lastError ?? "none yet"}</td>
    <td><${Time} at=${webhook.createdAt} /></td>
  </tr>`;
}

function OneWebhook({ eventId, isAdmin, onClose }) {
  const path = `/api/webhooks/${eventId}`;
  const { data, error, reload } = useResource(path);
  const isPending = data?.state === "pending";
  useEffect(() => {
    // The event stream reports webhooks of executions only.
    if (!isPending) return undefined;
    const timer = setInterval(reload, PENDING_READ_MS);
    return () => clearInterval(timer);
  }, [isPending, reload]);
  const resend = useAction(async () => {
    await post(`${path}/resend`);
    await reload();
  });
  return html`<${Dialog} title="Webhook" onClose=${onClose}>
    <${Problem} error=${error ?? resend.error} />
    ${data && html`
      <${Facts} items=${[
        ["Event", data.type],
        ["To", html`<code class="wrap">${data.url}</code>`],
        ["State", html`<${Status} state=${data.state} />`],
        ["Given up", data.failedReason],
      ]} />
      <${Attempts} log=${data.attemptLog} />
      <details class="raw"><summary>Body</summary><pre>${bodyText(data.body)}</pre></details>`}
    <div class="actions">
      <${Button} onClick=${onClose}>Close<//>
      ${isAdmin && data && html`<${Button} busy=${resend.busy} onClick=${resend.run}>Send again<//>`}
    </div>
  <//>`;
}

const bodyText = (body) => {
  try {
    return JSON.stringify(typeof body === "string" ? JSON.parse(body) : body, null, 2);
  } catch {
    return String(body);
  }
};

/** Sends the failed webhooks of the last day again, a thousand per request. */
function ResendDay({ endpointId, onDone }) {
  const { run, busy, error } = useAction(async () => {
    const to = new Date();
    const from = new Date(to.getTime() - 86_400_000);
    let cursor = null;
    do {
      const body = { from: from.toISOString(), to: to.toISOString(), state: "failed", endpointId, cursor };
      cursor = (await post("/api/webhooks/resend", body)).nextCursor;
    } while (cursor);
    await onDone();
  });
  return html`<${Button} busy=${busy} onClick=${run}>Send those of the last day again<//><${Problem} error=${error} />`;
}
