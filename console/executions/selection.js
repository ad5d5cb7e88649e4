// The selected executions, and what can be done with all of them.
import { Button, Problem } from "../shared/parts.js";
import { isOpen, isRetryable } from "../shared/status.js";
import { html, useState } from "../shared/view.js";

/** Return `{ ids, toggle, set }`. */
export function useSelection() {
  const [ids, setIds] = useState(new Set());
  const toggle = (id) => setIds((last) => {
    const next = new Set(last);
    if (!next.delete(id)) next.add(id);
    return next;
  });
  return { ids, toggle, set: (each) => setIds(new Set(each)) };
}

/** executions: those that are listed. onDone: called when something was sent. */
export function SelectionBar({ executions, selection, onDone }) {
  const [dialog, setDialog] = useState({});
  const selected = executions.filter(({ id }) => selection.ids.has(id));
  const open = async (name, chosen) => {
    // Fetched when it is needed: the first screen stays small.
    const load = () => import("./bulk.js");
    try {
      const { BulkDialog } = await load();
      setDialog({ Component: BulkDialog, name, chosen });
    } catch {
      setDialog({ error: new Error("The dialog could not be loaded. Check the connection, then try again.") });
    }
  };
  const close = (failedIds) => {
    setDialog({});
    if (failedIds) {
      selection.set(failedIds);
      onDone();
    }
  };
  const toCancel = selected.filter(isOpen);
  const toRetry = selected.filter(isRetryable);
  const areAll = selected.length === executions.length;
  const toggleAll = () => selection.set(areAll ? [] : executions.map(({ id }) => id));
  const { Component, name, chosen, error } = dialog;
  return html`<div class="selection" role="group" aria-label="Selection">
    <label class="check"><input type="checkbox" checked=${areAll} indeterminate=${selected.length > 0 && !areAll}
      onChange=${toggleAll} /> <span aria-live="polite">${selected.length > 0 ? `${selected.length} selected` : `Select all ${executions.length} shown`}</span></label>
    ${toCancel.length > 0 && html`<${Button} kind="danger" onClick=${() => open("cancel", toCancel)}>Cancel ${toCancel.length} …<//>`}
    ${toRetry.length > 0 && html`<${Button} onClick=${() => open("retry", toRetry)}>Retry ${toRetry.length} …<//>`}
    ${selected.length > 0 && toCancel.length + toRetry.length === 0 && html`<span class="quiet">Completed executions can be neither cancelled nor retried.</span>`}
    <${Problem} error=${error} />
    ${Component && html`<${Component} name=${name} ids=${chosen.map(({ id }) => id)} onClose=${close} />`}
  </div>`;
}
