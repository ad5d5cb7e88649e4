// Open executions by a filter, and the cancel of all that match, with the money at stake.
import { Button, Loading, Page, Panel, Problem } from "../../shared/parts.js";
import { html } from "../../shared/view.js";
import { Action } from "../action.js";
import { useCommand } from "../commands.js";
import { Filters } from "../filters.js";
import { Table } from "../report.js";
import { Workflow } from "../workflow.js";

const FILTERS = [
  { name: "execution", label: "Execution", placeholder: "exec_…" },
  { name: "user", label: "User", placeholder: "usr_…" },
  { name: "provider", label: "Provider" },
  { name: "model", label: "Model" },
  { name: "status", label: "Status", choices: ["queued", "running"] },
  { name: "olderThan", label: "Older than, minutes", inputmode: "numeric" },
];
const REASON = { name: "reason", label: "Reason, stored with the executions", isRequired: true };

export default function ExecutionsScreen({ query, session }) {
  const { data, error, reload } = useCommand("executions list", query);
  const Execution = ({ row }) => html`<${Workflow} id=${row.executionId} session=${session} />`;
  const isFiltered = Object.values(query).some(Boolean);
  const cancel = html`<${Action} name=${isFiltered ? "Cancel all that match" : "Cancel all"} kind="danger" title="Cancel executions"
    command="executions cancel" values=${isFiltered ? query : { all: true }} fields=${[REASON]} onDone=${reload} />`;
  return html`<${Page} title="Executions" aside=${data?.length > 0 && cancel}>
    <${Filters} path="executions" filters=${FILTERS} query=${query} />
    <${Panel} id="open" title="Open executions, the oldest first" aside=${html`<${Button} onClick=${reload}>Read again<//>`}>
      <${Problem} error=${error} again=${reload} />
      ${!data && !error && html`<${Loading} what="executions" />`}
      ${data && html`<${Table} rows=${data} by="executionId" label="Executions" empty="No open execution matches."
        columns=${[["execution", Execution], "userId", "status", "providers", "states", "heldUsd", "settledUsd", "queuedAt", "deadlineAt"]} />`}
    <//>
  <//>`;
}
