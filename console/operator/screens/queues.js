// What waits for each provider and for each user.
import { Loading, Page, Panel, Problem } from "../../shared/parts.js";
import { href } from "../../shared/router.js";
import { html } from "../../shared/view.js";
import { useCommand, useRepeated } from "../commands.js";
import { Table } from "../report.js";

const READ_AGAIN_MS = 10_000;

export default function QueuesScreen() {
  const { data, error, reload } = useCommand("queues");
  useRepeated(reload, READ_AGAIN_MS);
  const User = ({ row }) => html`<a href=${href("executions", { user: row.userId })}>${row.name}</a><br /><span class="quiet">${row.userId}</span>`;
  return html`<${Page} title="Queues">
    <${Problem} error=${error} again=${reload} />
    ${!data && !error && html`<${Loading} what="the queues" />`}
    ${data && html`
      <${Panel} id="providers" title="By provider key">
        <${Table} rows=${data.providers} by="provider" label="Queues by provider" empty="No job is open."
          columns=${["provider", "slots", "inFlight", "waiting", "waitingUsers", "oldestSeconds", "openJobs", "workSeconds"]} />
        <p class="quiet">Waiting: jobs that are ready and have no slot. Work: how long all open jobs occupy the slots, one after the other.</p>
      <//>
      <${Panel} id="users" title="By user">
        <${Table} rows=${data.users} by="userId" columns=${[["user", User], "queued", "oldestSeconds", "running", "runningLimit"]}
          label="Queues by user" empty="No execution is open." />
      <//>`}
  <//>`;
}
