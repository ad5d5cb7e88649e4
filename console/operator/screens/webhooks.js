// Webhooks of all users by a filter, and sending those that match once more.
import { Loading, Page, Panel, Problem } from "../../shared/parts.js";
import { html } from "../../shared/view.js";
import { Action, NOTE } from "../action.js";
import { useCommand } from "../commands.js";
import { Filters } from "../filters.js";
import { Table } from "../report.js";

const FILTERS = [
  { name: "state", label: "State", choices: ["failed", "delivered", "pending"], isRequired: true },
  { name: "user", label: "User", placeholder: "usr_…" },
  { name: "endpoint", label: "Endpoint", placeholder: "end_…" },
  { name: "from", label: "Created from", placeholder: "2026-11-22T10:00:00Z" },
  { name: "to", label: "Created before", placeholder: "2026-11-22T11:00:00Z" },
];

export default function WebhooksScreen({ query }) {
  const { data, error, reload } = useCommand("webhooks list", query);
  const isNarrow = query.user || query.endpoint || query.from;
  const Again = ({ row }) => html`<${Action} name="Send again" what=${row.eventId} title="Send this webhook again?"
    command="webhooks resend" values=${{ event: row.eventId }} fields=${[NOTE]} onDone=${reload} />`;
  const all = html`<${Action} name="Send all that match" title="Send webhooks again?" command="webhooks resend" values=${query}
    fields=${[NOTE]} onDone=${reload} />`;
  return html`<${Page} title="Webhooks" aside=${isNarrow && data?.length > 0 && all}>
    <${Filters} path="webhooks" filters=${FILTERS} query=${{ state: "failed", ...query }} />
    <${Panel} id="events" title="Events, the oldest first">
      <${Problem} error=${error} again=${reload} />
      ${!data && !error && html`<${Loading} what="webhooks" />`}
      ${data && html`<${Table} rows=${data} by="eventId" label="Webhooks" empty="No webhook matches."
        columns=${["eventId", "type", "userId", "failedReason", "lastStatusCode", "lastError", "createdAt", ["action", Again]]} />`}
      <p class="quiet">Each event keeps its id and its body. To send many, choose a user, an endpoint or a time.</p>
    <//>
  <//>`;
}
