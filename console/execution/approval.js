// The steps that wait for a decision: their options side by side, and what the decision starts.
import { post } from "../shared/api.js";
import { fileAddress } from "../shared/execution.js";
import { dollars } from "../shared/money.js";
import { Button, Panel, Problem } from "../shared/parts.js";
import { useAction } from "../shared/resource.js";
import { may } from "../shared/session.js";
import { Time } from "../shared/time.js";
import { html, useState } from "../shared/view.js";

export function Approvals({ execution, session, onDone }) {
  return execution.waitingFor.map((waiting) => html`<${Approval} key=${waiting.step} executionId=${execution.id}
    waiting=${waiting} mayDecide=${may(session, "generate")} onDone=${onDone} />`);
}

function Approval({ executionId, waiting, mayDecide, onDone }) {
  const [option, setOption] = useState(waiting.options.length === 1 ? waiting.options[0].step : null);
  const { run, busy, error } = useAction(async (decision) => {
    await post(`/api/executions/${executionId}/approve`, { step: waiting.step, ...decision });
    onDone();
  });
  const { rest } = waiting;
  const cost = rest.steps.length > 0 ? `, then pay at most ${dollars(rest.worst)}` : "";
  return html`<${Panel} id=${`approve-${waiting.step}`} title=${`Choose for ${waiting.step}`}
    aside=${html`<span class="quiet">until <${Time} at=${waiting.expiresAt} form="short" /></span>`}>
    <div class="options" role="radiogroup" aria-labelledby=${`approve-${waiting.step}`}>
      ${waiting.options.map((each) => html`<label class="option" key=${each.jobId}>
        ${each.assets.map((file) => html`<${Preview} key=${file.id} file=${file} step=${each.step} />`)}
        <span><input type="radio" name=${waiting.step} checked=${option === each.step} disabled=${!mayDecide}
          onChange=${() => setOption(each.step)} /> ${each.step}</span>
      </label>`)}
    </div>
    <${Problem} error=${error} />
    ${mayDecide && html`<div class="actions">
      <${Button} kind="danger" busy=${busy} onClick=${() => run({ reject: true })}>Reject all<//>
      <${Button} kind="primary" busy=${busy} disabled=${!option} onClick=${() => run({ option })}>
        ${option ? `Take ${option}${cost}` : "Choose one"}
      <//>
    </div>`}
  <//>`;
}

function Preview({ file, step }) {
  const address = fileAddress(file.url);
  if (file.kind === "image") return html`<img src=${address} alt=${`Option ${step}`} />`;
  if (file.kind === "video") return html`<video src=${address} controls muted playsinline preload="metadata"></video>`;
  if (file.kind === "audio") return html`<audio src=${address} controls preload="metadata"></audio>`;
  return html`<a href=${address} target="_blank" rel="noreferrer">Open the ${file.kind}</a>`;
}
