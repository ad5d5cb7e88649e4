// The attempts of a webhook: when, what was answered, how long it took.
import { Time } from "../shared/time.js";
import { html } from "../shared/view.js";

export const Attempts = ({ log }) =>
  html`<ol class="attempts">${log.map((attempt) => html`<li key=${`${attempt.delivery}/${attempt.number}`}>
    <${Time} at=${attempt.startedAt} form="clock" />
    <span>${outcome(attempt)}</span>
    ${attempt.responseExcerpt && html`<code class="wrap quiet">${attempt.responseExcerpt}</code>`}
  </li>`)}</ol>`;

function outcome({ statusCode, error, durationMs }) {
  if (durationMs === null) return "in progress";
  const answer = statusCode === null ? "no answer" : `answered ${statusCode}`;
  return `${answer} after ${durationMs} ms${error ? `: ${error}` : ""}`;
}
