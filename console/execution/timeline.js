// What happened, in order, from the numbered events.
import { dollars } from "../shared/money.js";
import { Loading, Panel, Problem } from "../shared/parts.js";
import { Time } from "../shared/time.js";
import { html } from "../shared/view.js";

const STATES = {
  waiting: "waits to be sent",
  submitting: "is being sent",
  unknown: "has no answer; it is looked up, never sent again",
  submitted: "was accepted",
  completed: "is done",
  failed: "failed",
  cancelled: "was cancelled",
};

export function Timeline({ timeline }) {
  const { data, error, reload } = timeline;
  const entries = data && inWords(data.data);
  return html`<${Panel} id="timeline" title="Timeline">
    <${Problem} error=${error} again=${reload} />
    ${!data && !error && html`<${Loading} what="the timeline" />`}
    <ol class="timeline">${entries?.map((entry) => html`<li key=${entry.sequence} class=${entry.type}>
      <${Time} at=${entry.at} form="clock" /><span>${entry.words}</span>
    </li>`)}</ol>
  <//>`;
}

/** Return the entries that have something new to say. */
function inWords(entries) {
  const said = [];
  let status = "";
  for (const entry of entries) {
    const words = wordsOf(entry, status);
    if (words && words !== said.at(-1)?.words) said.push({ ...entry, words });
    if (entry.data.status) status = entry.data.status;
  }
  return said;
}

function wordsOf({ type, data, sequence }, statusBefore) {
  if (type === "job") return jobWords(data);
  if (type === "cost") return costWords(data, sequence);
  if (type === "end") return data.error ? `Ended: ${data.error.message}` : `Ended: ${data.status}`;
  return data.status === "running" && statusBefore !== "running" ? "Started" : null;
}

function jobWords(job) {
  const words = STATES[job.state] ?? job.state;
  const where = job.state === "submitted" ? ` by ${job.provider}` : "";
  const again = job.state === "submitting" && job.tries > 1 ? ` (send ${job.tries})` : "";
  if (job.orphan) return `${job.step}: send ${job.tries} ${words}`;
  return `${job.step} ${words}${where}${again}`;
}

function costWords(cost, sequence) {
  if (sequence <= 2) return `Accepted; ${dollars(cost.held)} held`;
  return `Paid ${dollars(cost.settled)}, ${dollars(cost.held)} held`;
}
