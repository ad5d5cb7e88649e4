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
  const entries = data?.data.map((entry) => ({ ...entry, words: wordsOf(entry) })).filter(({ words }) => words);
  return html`<${Panel} id="timeline" title="Timeline">
    <${Problem} error=${error} again=${reload} />
    ${!data && !error && html`<${Loading} what="the timeline" />`}
    <ol class="timeline">${entries?.map((entry) => html`<li key=${entry.sequence} class=${entry.type}>
      <${Time} at=${entry.at} form="clock" /><span>${entry.words}</span>
    </li>`)}</ol>
  <//>`;
}

function wordsOf({ type, data, sequence }) {
  if (type === "job") return jobWords(data);
  if (type === "cost") return costWords(data, sequence);
  if (type === "end") return data.error ? `Ended: ${data.error.message}` : `Ended: ${data.status}`;
  return type === "progress" && data.status === "running" && !data.currentJob && data.completedJobs.length === 0
    ? "Started" : null;
}

function jobWords(job) {
  const words = STATES[job.state] ?? job.state;
  const where = job.state === "submitted" ? ` by ${job.provider}` : "";
  const again = job.state === "submitting" && job.tries > 1 ? ` (send ${job.tries})` : "";
  return `${job.step} ${words}${where}${again}`;
}

function costWords(cost, sequence) {
  if (sequence <= 2) return `Accepted; ${dollars(cost.held)} held`;
  return `Paid ${dollars(cost.settled)}, ${dollars(cost.held)} held`;
}
