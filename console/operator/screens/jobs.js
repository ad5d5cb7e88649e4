// Stuck work: sends without an answer, open bills, orphans, and what was spent without a result.
import { Dialog, Button, Loading, Page, Panel, Problem } from "../../shared/parts.js";
import { href, replaceQuery } from "../../shared/router.js";
import { html, useState } from "../../shared/view.js";
import { Action, NOTE } from "../action.js";
import { useCommand } from "../commands.js";
import { Report, Table } from "../report.js";
import { Workflow } from "../workflow.js";

const GROUPS = [["", "All that need a decision"], ["unknown", "Unknown sends"], ["open-bills", "Open bills"],
  ["orphans", "Orphans"], ["undelivered", "Spent without a result"]];
const ADOPT = [
  { name: "providerJobId", label: "Id of the job at the provider", isRequired: true, help: "Search the provider's dashboard for the request that “Details” shows." },
  { name: "send", label: "Number of the send", placeholder: "the current one" },
  NOTE,
];
const SETTLE = [
  { name: "usd", label: "Cost in US dollars", isRequired: true, placeholder: "0.3", help: "0: nothing was bought." },
  NOTE,
  { name: "yes", label: "Also if the provider has an id for it, or above 10,000 dollars; this is final", isCheck: true },
];
const REFUND = [
  { name: "usd", label: "Refund in US dollars", isRequired: true, placeholder: "0.3" },
  { name: "reason", label: "Reason for the audit log", isRequired: true },
  { name: "reference", label: "The provider's reference", help: "Each further refund of the job needs its own." },
];

export default function JobsScreen({ query, session }) {
  const group = query.group ?? "";
  return html`<${Page} title="Stuck work">
    <div class="filters"><div class="choices" role="group" aria-label="Group">${GROUPS.map(([name, label]) => html`
      <button type="button" aria-pressed=${group === name} onClick=${() => replaceQuery("jobs", { group: name })}>${label}</button>`)}</div></div>
    ${group === "undelivered"
      ? html`<${Undelivered} key="undelivered" session=${session} />`
      : html`<${Cases} key=${group} state=${group} session=${session} />`}
  <//>`;
}

function Cases({ state, session }) {
  const { data, error, reload } = useCommand("jobs list", { state });
  const [shown, setShown] = useState(null);
  const Job = ({ row }) => html`<button type="button" class="link" onClick=${() => setShown(row.jobId)}>${row.stepName}</button>
    <br /><span class="quiet">${row.model}</span>`;
  const Execution = ({ row }) => html`<${Workflow} id=${row.executionId} session=${session} /><br /><span class="quiet">${row.executionStatus}</span>`;
  const Decide = ({ row }) => html`<${Decisions} job=${row} onDone=${reload} />`;
  return html`<${Panel} id="cases" title="Jobs, the oldest send first">
    <${Problem} error=${error} again=${reload} />
    ${!data && !error && html`<${Loading} what="jobs" />`}
    ${data && html`<${Table} rows=${data} by="jobId" label="Jobs" empty="No job needs a decision."
      columns=${[["job", Job], "provider", "state", "failureCode", "providerJobId", "heldUsd", "ageSeconds", ["execution", Execution], ["decide", Decide]]} />`}
    ${shown && html`<${Details} jobId=${shown} onClose=${() => setShown(null)} />`}
  <//>`;
}

function Decisions({ job, onDone }) {
  const common = { values: { job: job.jobId }, what: job.jobId, onDone };
  const isOpen = ["submitting", "unknown", "waiting"].includes(job.state);
  const isSettled = job.chargeState === "settled";
  return html`<div class="row">
    ${!job.providerJobId && html`<${Action} ...${common} name="Adopt" title="Which job of the provider is it?" command="jobs adopt" fields=${ADOPT} />`}
    ${!isOpen && !isSettled && html`<${Action} ...${common} name="Settle" title="Book what it cost" command="jobs settle" fields=${SETTLE} />`}
    ${!isOpen && !isSettled && !job.providerJobId && html`<${Action} ...${common} name="Release" title="Was it never accepted?" command="jobs release" fields=${[NOTE]} />`}
    ${isSettled && html`<${Action} ...${common} name="Refund" title="Book a refund of the provider" command="jobs refund" fields=${REFUND} />`}
  </div>`;
}

function Details({ jobId, onClose }) {
  const { data, error } = useCommand("jobs show", { job: jobId });
  return html`<${Dialog} title="Job" onClose=${onClose}>
    <${Problem} error=${error} />
    ${!data && !error && html`<${Loading} what="the job" />`}
    ${data && html`<${Report} result=${data} />`}
    <div class="actions"><${Button} onClick=${onClose}>Close<//></div>
  <//>`;
}

function Undelivered({ session }) {
  const { data, error, reload } = useCommand("executions undelivered");
  const Execution = ({ row }) => html`<${Workflow} id=${row.executionId} session=${session} />`;
  const User = ({ row }) => html`<a href=${href("webhooks", { user: row.userId })}>${row.userId}</a>`;
  return html`<${Panel} id="undelivered" title="Spent in seven days without a delivered result">
    <${Problem} error=${error} again=${reload} />
    ${!data && !error && html`<${Loading} what="executions" />`}
    ${data && html`<${Table} rows=${data} by="executionId" label="Spent without a result" empty="Everything that was paid was delivered."
      columns=${[["execution", Execution], ["user", User], "outcome", "errorCode", "settledUsd", "endedAt"]} />`}
  <//>`;
}
