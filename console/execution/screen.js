// One execution: its result or its progress, its steps, its money, its webhook, its timeline.
import { isOpen, Progress, shownState, Status } from "../shared/status.js";
import { TYPE_NAMES, titleOf } from "../shared/execution.js";
import { useEvents } from "../shared/events.js";
import { Copy, Facts, Loading, Money, Page, Panel, Problem } from "../shared/parts.js";
import { href } from "../shared/router.js";
import { useDebounced, useResource } from "../shared/resource.js";
import { Time, duration, secondsBetween } from "../shared/time.js";
import { html, useMemo } from "../shared/view.js";
import { Actions } from "./actions.js";
import { Approvals } from "./approval.js";
import { Files } from "./files.js";
import { Result } from "./result.js";
import { Steps } from "./steps.js";
import { Timeline } from "./timeline.js";
import { WebhookPanel } from "./webhook.js";

const READ_AGAIN_MS = 200;

export default function ExecutionScreen({ id, session }) {
  const path = `/api/executions/${encodeURIComponent(id)}`;
  const execution = useResource(path);
  const timeline = useResource(`${path}/timeline`);
  const readAgain = useDebounced(() => {
    execution.reload();
    timeline.reload();
  }, READ_AGAIN_MS);
  useEvents((event) => {
    if (event.type === "refresh" || event.executionId === id) readAgain();
  });
  const { data, error } = execution;
  const readAt = useMemo(() => Date.now(), [data]);
  if (!data) {
    return html`<${Page} title="Execution">
      <${Problem} error=${error} again=${execution.reload} />
      ${!error && html`<${Loading} what="the execution" />`}
    <//>`;
  }
  const aside = html`<${Status} state=${shownState(data)} />
    <${Actions} execution=${data} session=${session} onDone=${readAgain} />`;
  return html`<${Page} title=${titleOf(data)} aside=${aside}>
    <p class="crumbs"><a href=${href("executions")}>Executions</a> / <${Copy} text=${id} /></p>
    <${Problem} error=${error} again=${execution.reload} />
    <div class="two-columns">
      <div class="stack">
        <${Approvals} execution=${data} session=${session} onDone=${readAgain} />
        ${data.status === "completed" ? html`<${Result} execution=${data} />` : html`<${Course} execution=${data} readAt=${readAt} />`}
        <${Steps} execution=${data} />
        ${data.result && html`<${Files} result=${data.result} />`}
      </div>
      <div class="stack">
        <${Summary} execution=${data} session=${session} />
        <${WebhookPanel} execution=${data} session=${session} />
        <${Timeline} timeline=${timeline} />
        <details class="raw"><summary>Raw document</summary><pre>${JSON.stringify(data, null, 2)}</pre></details>
      </div>
    </div>
  <//>`;
}

/** How far it is, or why it ended without a result. */
function Course({ execution, readAt }) {
  if (!isOpen(execution)) {
    const { error } = execution;
    return html`<${Panel} id="course" title=${execution.status === "failed" ? "Why it failed" : "Cancelled"}>
      <p>${error?.message ?? "It was cancelled before it had a result."}</p>
      <p>A retry keeps what is paid for, and buys only the rest.</p>
      ${error && html`<p class="quiet"><code>${error.code}</code> · spent <${Money} usd=${error.spent ?? execution.cost.settled} /></p>`}
    <//>`;
  }
  return html`<${Panel} id="course" title=${execution.currentJob ? `Working on ${execution.currentJob}` : "Waiting to start"}>
    <${Progress} execution=${execution} readAt=${readAt} />
    <p class="quiet">${etaWords(execution.eta)} ${queueWords(execution.queue)}</p>
  <//>`;
}

function etaWords(eta) {
  if (!eta) return "";
  return `Done in about ${duration(eta.seconds)} (${duration(eta.low)} to ${duration(eta.high)}).`;
}

function queueWords(queue) {
  if (!queue) return "";
  const place = queue.position === null ? "" : `, number ${queue.position} of yours`;
  if (queue.reason === "provider_slot") return `Step ${queue.step} waits for a slot at ${queue.provider}${place}.`;
  if (queue.reason === "running_limit") return `It waits until another of your executions ends${place}.`;
  return "It is being started.";
}

function Summary({ execution, session }) {
  const { cost, generation, metadata } = execution;
  const ended = isOpen(execution) ? null : duration(secondsBetween(execution.createdAt, execution.updatedAt));
  const workflow = session.temporalWorkflowsUrl && `${session.temporalWorkflowsUrl}${execution.id}`;
  return html`<${Panel} id="summary" title="Cost and facts">
    <${Facts} items=${[
      ["Paid", html`<strong><${Money} usd=${cost.settled} /></strong>${cost.final ? "" : html` <span class="quiet">so far</span>`}`],
      ["Held", cost.held !== "0" && html`<${Money} usd=${cost.held} />`],
      ["At most", html`<${Money} usd=${cost.estimated} />`],
      ["Saved by reuse", cost.saved !== "0" && html`<${Money} usd=${cost.saved} />`],
      ["Prompt", execution.prompt !== titleOf(execution) && execution.prompt],
      ["Kind", TYPE_NAMES[execution.type]],
      ["Created", html`<${Time} at=${execution.createdAt} form="short" />`],
      ["Took", ended],
      ["Generation", generation > 1 && String(generation)],
      ...Object.entries(metadata).map(([name, value]) => [name, String(value)]),
      ["Workflow", workflow && html`<a href=${workflow} target="_blank" rel="noreferrer">Temporal Web UI</a>`],
    ]} />
  <//>`;
}
