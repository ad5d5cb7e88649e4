// The forms of a new key and of a key's spend limit.
import { Button, Dialog, Problem } from "../shared/parts.js";
import { useAction } from "../shared/resource.js";
import { may } from "../shared/session.js";
import { html } from "../shared/view.js";

const SCOPES = [
  { scope: "read", meaning: "see executions, files and usage" },
  { scope: "generate", meaning: "order, cancel and retry, which spends money" },
  { scope: "admin", meaning: "manage keys and webhooks" },
];

/** Return the spend limit of a form, or null without any amount. */
function limitOf(form) {
  const [daily, monthly] = ["daily", "monthly"].map((name) => form.get(name).trim() || null);
  return daily || monthly ? { daily, monthly } : null;
}

const Limits = ({ limit }) => html`<div class="fields">
  ${["daily", "monthly"].map((name) => html`<div class="field">
    <label for=${`limit-${name}`}>At most ${name === "daily" ? "a day" : "a month"}, US dollars</label>
    <input id=${`limit-${name}`} name=${name} inputmode="decimal" placeholder="no limit" value=${limit?.[name] ?? ""} />
  </div>`)}
</div>`;

export function NewKeyDialog({ session, onClose, onCreate }) {
  const { run, busy, error } = useAction((form) => onCreate({
    name: form.get("name").trim(),
    scopes: form.getAll("scope"),
    expiresDays: form.get("days") ? Number(form.get("days")) : null,
    spendLimit: limitOf(form),
  }));
  const submit = (event) => {
    event.preventDefault();
    run(new FormData(event.currentTarget));
  };
  return html`<${Dialog} title="New key" onClose=${onClose}><form class="stack" onSubmit=${submit}>
    <div class="field"><label for="key-name">Name</label>
      <input id="key-name" name="name" required maxlength="200" autocomplete="off" /></div>
    <fieldset><legend>It may</legend>${SCOPES.filter(({ scope }) => may(session, scope)).map(({ scope, meaning }) => html`
      <label class="check"><input type="checkbox" name="scope" value=${scope} checked=${scope === "read"} /> ${scope}: ${meaning}</label>`)}
    </fieldset>
    <div class="field"><label for="key-days">Expires after, days</label>
      <input id="key-days" name="days" type="number" min="1" max="36500" placeholder="never" /></div>
    <${Limits} />
    <${Problem} error=${error} />
    <div class="actions">
      <${Button} onClick=${onClose}>Close<//>
      <${Button} kind="primary" type="submit" busy=${busy}>Make the key<//>
    </div>
  </form><//>`;
}

export function LimitDialog({ apiKey, onClose, onChange }) {
  const { run, busy, error } = useAction((form) => onChange(apiKey, limitOf(form)));
  const submit = (event) => {
    event.preventDefault();
    run(new FormData(event.currentTarget));
  };
  return html`<${Dialog} title=${`Spend limit of “${apiKey.name}”`} onClose=${onClose}><form class="stack" onSubmit=${submit}>
    <${Limits} limit=${apiKey.spendLimit} />
    <p class="quiet">It counts from the next order on, with what is held or spent already.</p>
    <${Problem} error=${error} />
    <div class="actions">
      <${Button} onClick=${onClose}>Close<//>
      <${Button} kind="primary" type="submit" busy=${busy}>Set the limit<//>
    </div>
  </form><//>`;
}
