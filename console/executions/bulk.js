// Cancel or retry several executions, with the sum of their money shown before.
import { get, post } from "../shared/api.js";
import { pathOf, retryCosts, titleOf } from "../shared/execution.js";
import { compare, dollars, sum } from "../shared/money.js";
import { Button, Dialog, Facts, Money, Problem } from "../shared/parts.js";
import { useAction } from "../shared/resource.js";
import { href } from "../shared/router.js";
import { isOpen, isRetryable } from "../shared/status.js";
import { html, useEffect, useRef, useState } from "../shared/view.js";

const AT_ONCE = 4; // browsers open six connections per host, and the event stream has one of them

const KINDS = {
  cancel: {
    fits: isOpen,
    send: ({ id }) => post(`${pathOf(id)}/cancel`),
    title: (count) => `Cancel ${countWords(count)}?`,
    left: "ended in the meantime",
  },
  retry: {
    fits: isRetryable,
    // The sum is what was shown: a retry that would cost more is refused.
    send: (execution) => post(`${pathOf(execution.id)}/retry`, { maxCost: retryCosts(execution).most }),
    title: (count) => `Retry ${countWords(count)}?`,
    left: "changed in the meantime",
  },
};

const countWords = (count) => (count === 1 ? "1 execution" : `${count} executions`);

/**
 * name: of one of KINDS. ids: of the selected executions; they are read again, so that the sums are
 * those of now. onClose: gets the ids that are left over, or null if nothing was sent.
 */
export function BulkDialog({ name, ids, onClose }) {
  const kind = KINDS[name];
  const [executions, setExecutions] = useState(null);
  const [done, setDone] = useState(0);
  const [failures, setFailures] = useState(null);
  const isOver = useRef(false);
  const sent = useRef(null); // the ids of those that were accepted, once sending has begun
  useEffect(() => () => { isOver.current = true; }, []);

  const read = useAction(async () => {
    setDone(0);
    const found = [];
    const failed = await forEach(ids, async (id) => found.push(await get(pathOf(id))), setDone, isOver);
    if (failed.length > 0) throw failed[0].error;
    setExecutions(found);
  });
  useEffect(() => { read.run(); }, []);
  const fitting = executions?.filter(kind.fits) ?? [];
  const send = useAction(async () => {
    sent.current ??= new Set();
    setDone(0);
    const sendOne = async (each) => {
      await kind.send(each);
      sent.current.add(each.id);
    };
    const failed = await forEach(fitting, sendOne, setDone, isOver);
    if (failed.length > 0) setFailures(failed);
    else if (!isOver.current) onClose([]);
  });
  const close = () => onClose(sent.current && fitting.map(({ id }) => id).filter((id) => !sent.current.has(id)));
  const title = executions ? kind.title(fitting.length) : kind.title(ids.length);
  if (failures) return html`<${Dialog} title=${`${failures.length} of ${fitting.length} were refused`} onClose=${close}>
    <${Failures} failures=${failures} />
    <div class="actions"><${Button} onClick=${close}>Close<//></div>
  <//>`;
  return html`<${Dialog} title=${title} onClose=${close}>
    <${Problem} error=${read.error} again=${read.run} />
    ${!executions && !read.error && html`<${Count} what="Reading the costs" done=${done} of=${ids.length} />`}
    ${executions && html`
      ${executions.length > fitting.length && html`<p class="quiet">${countWords(executions.length - fitting.length)} ${kind.left} and will be left out.</p>`}
      ${name === "cancel" ? html`<${CancelSums} executions=${fitting} />` : html`<${RetrySums} executions=${fitting} />`}`}
    ${send.busy && html`<${Count} what=${name === "cancel" ? "Cancelling" : "Retrying"} done=${done} of=${fitting.length} />`}
    <div class="actions">
      <${Button} onClick=${close}>${send.busy ? "Stop" : "Close"}<//>
      ${executions && html`<${Button} kind=${name === "cancel" ? "danger" : "primary"} busy=${send.busy}
        disabled=${fitting.length === 0} onClick=${send.run}>${buttonWords(name, fitting)}<//>`}
    </div>
  <//>`;
}

const total = (executions, amount) => sum(executions.map(amount));
const mostOf = (executions) => total(executions, (each) => retryCosts(each).most);

function buttonWords(name, executions) {
  if (name === "cancel") return `Cancel ${countWords(executions.length)}`;
  const most = mostOf(executions);
  return compare(most, "0") > 0 ? `Retry for at most ${dollars(most)}` : "Retry at no cost";
}

const CancelSums = ({ executions }) => html`
  <${Facts} items=${[
    ["Spent", html`<${Money} usd=${total(executions, ({ cost }) => cost.settled)} />`],
    ["Comes back", html`up to <${Money} usd=${total(executions, ({ cost }) => cost.held)} />`],
  ]} />
  <p class="quiet">Nothing further is bought. Jobs that run at their providers are cancelled there; the providers may still bill them.</p>`;

const RetrySums = ({ executions }) => html`
  <${Facts} items=${[
    ["Kept", html`<${Money} usd=${total(executions, (each) => retryCosts(each).keptCost)} /> <span class="quiet">paid before</span>`],
    ["At most", html`<strong><${Money} usd=${mostOf(executions)} /></strong>`],
  ]} />
  <p class="quiet">What is paid for is used again. An execution with a purchase of unknown outcome is refused here: retry it on its own page.</p>`;

const Failures = ({ failures }) => html`<ul class="failures">${failures.map(({ item, error }) => html`
  <li key=${item.id}><a href=${href(`executions/${item.id}`)}>${titleOf(item)}</a><br />${error.message}</li>`)}</ul>`;

const Count = ({ what, done, of }) => html`<div class="progress">
  <progress max=${of} value=${done} aria-label=${what}></progress>
  <span class="quiet" role="status">${what}: ${done} of ${of}</span>
</div>`;

/** Run an action for each item, a few at once, until `isOver`. Return `{ item, error }` of each failure. */
async function forEach(items, action, onDone, isOver) {
  const waiting = [...items];
  const failures = [];
  let done = 0;
  const work = async () => {
    while (waiting.length > 0 && !isOver.current) {
      const item = waiting.shift();
      await action(item).catch((error) => failures.push({ item, error }));
      onDone((done += 1));
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return failures;
}
