// An action: its values, the dry run with the command, the confirmation, and the result.
import { Button, Copy, Dialog, Notice, Problem } from "../shared/parts.js";
import { useAction } from "../shared/resource.js";
import { html, useEffect, useRef, useState } from "../shared/view.js";
import { confirm, dryRun } from "./commands.js";
import { Report } from "./report.js";

/**
 * A button that opens the dialog of an action.
 *
 * command: its words. values: fixed ones. fields: `{ name, label, help, isRequired, isCheck }` of
 * the values that the operator enters. what: the thing that it concerns, for screen readers.
 * onDone: called after the action has run.
 */
export function Action({ name, what, kind, onDone, ...action }) {
  const [isOpen, setOpen] = useState(false);
  return html`<${Button} kind=${kind} onClick=${() => setOpen(true)}><span>${name}${what && html`<span class="hidden"> ${what}</span>`} …</span><//>
    ${isOpen && html`<${ActionDialog} ...${action} name=${name} kind=${kind} onDone=${onDone} onClose=${() => setOpen(false)} />`}`;
}

function ActionDialog({ name, kind, title, command, values = {}, fields = [], onDone, onClose }) {
  const [shown, setShown] = useState(null);
  const [done, setDone] = useState(null);
  const entered = useRef({});
  const show = useAction(async (form) => {
    entered.current = Object.fromEntries(fields.map((field) => [field.name, read(form, field)]));
    setShown(await dryRun(command, { ...values, ...entered.current }));
  });
  const run = useAction(async () => setDone(await confirm(shown.confirmation)));
  const submit = (event) => {
    event.preventDefault();
    show.run(new FormData(event.currentTarget));
  };
  const close = () => {
    onClose();
    if (done) onDone();
  };
  const again = () => setShown(null);
  return html`<${Dialog} title=${title ?? name} onClose=${close}>
    ${done
      ? html`<${Step} key="done"><${Notice}><p>Done.</p><//><${Report} result=${done.result} /><//>
          <div class="actions"><${Button} kind="primary" onClick=${close}>Close<//></div>`
      : shown
        ? html`<${Step} key="shown"><p><strong>Nothing has been changed yet.</strong> The command would do this:</p>
            <${Report} result=${shown.result} /><p class="wrap"><${Copy} text=${shown.command} /></p><//>
          <${Problem} error=${run.error} />
          <div class="actions">
            <${Button} onClick=${again}>Back<//>
            ${isSomething(shown.result)
              ? html`<${Button} kind=${kind ?? "primary"} busy=${run.busy} onClick=${run.run}>Confirm: ${name}<//>`
              : html`<p>There is nothing to do.</p>`}
          </div>`
        : html`<form class="stack" onSubmit=${submit}>
            ${fields.map((field) => html`<${Field} key=${field.name} field=${field} value=${entered.current[field.name]} />`)}
            <${Problem} error=${show.error} />
            <div class="actions">
              <${Button} onClick=${close}>Close<//>
              <${Button} kind="primary" type="submit" busy=${show.busy}>Show what it does<//>
            </div>
          </form>`}
  <//>`;
}

/** A part of the dialog that is read out when it replaces the one before. */
function Step({ children }) {
  const ref = useRef(null);
  useEffect(() => ref.current.focus(), []);
  return html`<div ref=${ref} tabindex="-1" class="stack">${children}</div>`;
}

function Field({ field, value }) {
  const { name, label, help, isRequired, isCheck, placeholder } = field;
  const id = `action-${name}`;
  if (isCheck) return html`<label class="check"><input type="checkbox" name=${name} defaultChecked=${value} /> ${label}</label>`;
  return html`<div class="field">
    <label for=${id}>${label}</label>
    <input id=${id} name=${name} required=${isRequired} maxlength="500" autocomplete="off" placeholder=${placeholder}
      defaultValue=${value ?? ""} aria-describedby=${help ? `${id}-help` : undefined} />
    ${help && html`<p id=${`${id}-help`} class="quiet">${help}</p>`}
  </div>`;
}

const read = (form, { name, isCheck }) => (isCheck ? form.get(name) !== null : form.get(name).trim());

/** Whether a dry run has found anything to change. */
const isSomething = (result) =>
  result.changed !== false && result.events !== 0 && result.matching?.executions !== 0;

/** The reason, for the audit log. */
export const NOTE = { name: "note", label: "Note for the audit log", isRequired: true };
