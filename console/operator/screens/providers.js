// Providers: circuit breakers and slots, and the pauses of paid calls.
import { Loading, Page, Panel, Problem } from "../../shared/parts.js";
import { Status } from "../../shared/status.js";
import { html } from "../../shared/view.js";
import { Action, NOTE } from "../action.js";
import { useCommand } from "../commands.js";
import { Table } from "../report.js";

const PAUSE_FIELDS = [
  { name: "reason", label: "Reason", isRequired: true },
  { name: "provider", label: "Only this provider", help: "Leave all three empty to pause every paid call." },
  { name: "model", label: "Only this model" },
  { name: "user", label: "Only this user", placeholder: "usr_…" },
  { name: "yes", label: "Also if it was never used", isCheck: true },
];

export default function ProvidersScreen() {
  const providers = useCommand("providers show");
  const pauses = useCommand("submits show");
  const reload = () => Promise.all([providers.reload(), pauses.reload()]);
  return html`<${Page} title="Providers">
    <${Problem} error=${providers.error ?? pauses.error} again=${reload} />
    ${!providers.data && !providers.error && html`<${Loading} what="the providers" />`}
    ${providers.data && html`<${States} rows=${providers.data} onDone=${reload} />`}
    ${pauses.data && html`<${Pauses} rows=${pauses.data} onDone=${reload} />`}
  <//>`;
}

function States({ rows, onDone }) {
  const State = ({ row }) => html`<${Status} state=${row.accepts ? "completed" : "failed"} words=${row.accepts ? "Accepts" : "Refuses"} />`;
  const Reset = ({ row }) => (!row.accepts || row.quietUntil) && html`<${Action} name="Reset" what=${row.provider}
    title=${`Accept calls to ${row.provider} again?`} command="providers reset" values=${{ provider: row.provider }}
    fields=${[NOTE]} onDone=${onDone} />`;
  return html`<${Panel} id="states" title="Circuit breakers and slots">
    <${Table} rows=${rows} by="provider" label="Providers" empty="No provider has a call in flight, a pause or an open breaker."
      columns=${["provider", ["state", State], "trippedCode", "trippedAt", "probeAt", "quietUntil", "inFlight", "waiting", ["action", Reset]]} />
    <p class="quiet">A breaker opens when a provider refuses the key or the account. It sends single probes and closes by itself once one is accepted. Reset it when the cause is removed.</p>
  <//>`;
}

function Pauses({ rows, onDone }) {
  const Resume = ({ row }) => html`<${Action} name="Resume" what=${row.scope} title=${`End the pause of ${row.scope}?`}
    command="submits resume" values=${scopeValues(row.scope)} fields=${[NOTE]} onDone=${onDone} />`;
  const pause = html`<${Action} name="Pause paid calls" kind="danger" command="submits pause" fields=${PAUSE_FIELDS} onDone=${onDone} />`;
  return html`<${Panel} id="pauses" title="Pauses of paid calls" aside=${pause}>
    <${Table} rows=${rows} by="scope" columns=${["scope", "reason", "since", ["action", Resume]]} label="Pauses" empty="Nothing is paused." />
  <//>`;
}

/** Return the options of a pause's scope: "all", "provider/NAME", "model/NAME" or "user/ID". */
function scopeValues(scope) {
  const at = scope.indexOf("/");
  return at < 0 ? {} : { [scope.slice(0, at)]: scope.slice(at + 1) };
}
