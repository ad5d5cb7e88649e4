// Cancel, retry and delete, each with its money shown before it is sent.
import { post, remove } from "../shared/api.js";
import { pathOf, retryCosts } from "../shared/execution.js";
import { compare, dollars } from "../shared/money.js";
import { Button, Dialog, Facts, Money, Problem } from "../shared/parts.js";
import { navigate } from "../shared/router.js";
import { useAction } from "../shared/resource.js";
import { may } from "../shared/session.js";
import { isOpen, isRetryable } from "../shared/status.js";
import { html, useState } from "../shared/view.js";

const DIALOGS = { cancel: CancelDialog, retry: RetryDialog, delete: DeleteDialog };

export function Actions({ execution, session, onDone }) {
  const [shown, setShown] = useState(null);
  if (!may(session, "generate")) return null;
  const close = () => setShown(null);
  const done = () => {
    close();
    onDone();
  };
  const Shown = DIALOGS[shown];
  return html`<div class="actions">
    ${isOpen(execution) && html`<${Button} kind="danger" onClick=${() => setShown("cancel")}>Cancel …<//>`}
    ${isRetryable(execution) && html`<${Button} kind="primary" onClick=${() => setShown("retry")}>Retry …<//>`}
    ${!isOpen(execution) && html`<${Button} kind="quiet" onClick=${() => setShown("delete")}>Delete …<//>`}
    ${Shown && html`<${Shown} execution=${execution} onClose=${close} onDone=${done} />`}
  </div>`;
}

function CancelDialog({ execution, onClose, onDone }) {
  const { cost } = execution;
  const { run, busy, error } = useAction(async () => {
    await post(`${pathOf(execution.id)}/cancel`);
    onDone();
  });
  return html`<${Dialog} title="Cancel this execution?" onClose=${onClose}>
    <${Facts} items=${[
      ["Spent", html`<${Money} usd=${cost.settled} />`],
      ["Comes back", html`up to <${Money} usd=${cost.held} />`],
    ]} />
    <p class="quiet">Nothing further is bought. A job that runs at its provider is cancelled there; the provider may still bill it.</p>
    <${Problem} error=${error} />
    <div class="actions">
      <${Button} onClick=${onClose}>Keep it running<//>
      <${Button} kind="danger" busy=${busy} onClick=${run}>Cancel it<//>
    </div>
  <//>`;
}

function RetryDialog({ execution, onClose, onDone }) {
  const { kept, toPay, keptCost, most } = retryCosts(execution);
  const [accepts, setAccepts] = useState(false);
  const { run, busy, error } = useAction(async () => {
    await post(`${pathOf(execution.id)}/retry`, { maxCost: most, acceptPossibleDoubleCost: accepts });
    onDone();
  });
  const isDouble = error?.code === "possible_double_cost" || accepts;
  return html`<${Dialog} title="Retry this execution?" onClose=${onClose}>
    <${Facts} items=${[
      ["Kept", html`${kept.map(({ step }) => step).join(", ") || "nothing"} <span class="quiet">(<${Money} usd=${keptCost} /> paid)</span>`],
      ["Bought again", toPay.map(({ step }) => step).join(", ") || "nothing"],
      ["At most", html`<strong><${Money} usd=${most} /></strong>`],
    ]} />
    <${Problem} error=${error} />
    ${isDouble && html`<label class="check"><input type="checkbox" checked=${accepts}
      onChange=${(event) => setAccepts(event.target.checked)} />
      Buy again although an earlier purchase may still be billed</label>`}
    <div class="actions">
      <${Button} onClick=${onClose}>Close<//>
      <${Button} kind="primary" busy=${busy} onClick=${run}>
        ${compare(most, "0") > 0 ? `Retry for at most ${dollars(most)}` : "Retry at no cost"}
      <//>
    </div>
  <//>`;
}

function DeleteDialog({ execution, onClose }) {
  const { run, busy, error } = useAction(async () => {
    await remove(pathOf(execution.id));
    navigate("executions");
  });
  return html`<${Dialog} title="Delete this execution?" onClose=${onClose}>
    <p>Its prompt, metadata, files and webhooks are erased for good. Its cost stays in the usage.</p>
    <${Problem} error=${error} />
    <div class="actions">
      <${Button} onClick=${onClose}>Keep it<//>
      <${Button} kind="danger" busy=${busy} onClick=${run}>Delete it<//>
    </div>
  <//>`;
}
