// The jobs of the execution: state, provider, model, tries, duration and cost of each.
import { Money, Panel } from "../shared/parts.js";
import { Status } from "../shared/status.js";
import { duration, secondsBetween, useClock } from "../shared/time.js";
import { html } from "../shared/view.js";

const BASIS = {
  reported: "as the provider reported",
  computed: "from the price book",
  assumed: "assumed at the worst price",
};

export function Steps({ execution }) {
  const running = execution.jobs.some(({ submittedAt, endedAt }) => submittedAt && !endedAt);
  const now = useClock(running ? 1000 : 0);
  return html`<${Panel} id="steps" title="Steps">
    <div class="scroll"><table class="fold">
      <thead><tr><th>Step</th><th>State</th><th>Model</th><th class="number">Tries</th><th class="number">Time</th><th class="number">Cost</th></tr></thead>
      <tbody>${inOrder(execution.jobs).map((job) => html`<${Job} key=${job.id} job=${job} now=${now} />`)}</tbody>
    </table></div>
  <//>`;
}

function Job({ job, now }) {
  const { cost } = job;
  const notes = [job.orphan ? orphanWords(job) : job.error?.message, ...job.warnings,
    job.reusedFrom && "Uses a file that was paid for earlier."].filter(Boolean);
  return html`
    <tr class=${job.orphan ? "orphan" : ""}>
      <th scope="row">${job.step}</th>
      <td><${Status} state=${job.state} /></td>
      <td>${job.model}<br /><span class="quiet">${job.provider}</span></td>
      <td class="number" data-label="Tries">${job.tries || "–"}</td>
      <td class="number" data-label="Time">${time(job, now)}</td>
      <td class="number">${cost.held !== "0"
        ? html`<${Money} usd=${cost.held} /><br /><span class="quiet">held</span>`
        : html`<${Money} usd=${cost.settled} title=${BASIS[cost.basis]} />${cost.basis === "assumed" && html`<br /><span class="quiet">assumed</span>`}`}</td>
    </tr>
    ${notes.map((note) => html`<tr class="note"><td colspan="6">${note}</td></tr>`)}`;
}

const orphanWords = ({ state }) => state === "failed"
  ? "An earlier send. It failed at no cost, so the step was sent again."
  : "An earlier send that was accepted, too. Its output is not used.";

/** Return the jobs by step, in the order of the plan, with earlier sends first. */
function inOrder(jobs) {
  const steps = [...new Set(jobs.map(({ step }) => step))];
  const place = (job) => [steps.indexOf(job.step), job.generation, job.orphan ? 0 : 1, job.tries];
  const difference = (one, other) => one.map((value, at) => value - other[at]).find(Boolean) ?? 0;
  return [...jobs].sort((one, other) => difference(place(one), place(other)));
}

function time(job, now) {
  const start = job.submittedAt;
  if (!start) return "–";
  const seconds = job.endedAt ? secondsBetween(start, job.endedAt) : (now - Date.parse(start)) / 1000;
  return duration(seconds);
}
