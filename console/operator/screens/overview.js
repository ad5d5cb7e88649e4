// What needs the operator, then the money, the open work and the checks behind it.
import { sum } from "../../shared/money.js";
import { Button, Loading, Money, Page, Panel, Problem } from "../../shared/parts.js";
import { useAction } from "../../shared/resource.js";
import { href } from "../../shared/router.js";
import { duration, secondsBetween } from "../../shared/time.js";
import { html } from "../../shared/view.js";
import { check, useCommand, useRepeated } from "../commands.js";
import { Report, Table } from "../report.js";

const READ_AGAIN_MS = 10_000;
const SILENT_SECONDS = 60;
const CHECK_SECONDS = 26 * 3600;

export default function OverviewScreen() {
  const { data, error, reload } = useCommand("overview");
  useRepeated(reload, READ_AGAIN_MS);
  return html`<${Page} title="Overview">
    <${Problem} error=${error} again=${reload} />
    ${!data && !error && html`<${Loading} what="the overview" />`}
    ${data && html`<${Attention} items=${attention(data)} />
      <div class="two-columns">
        <div class="stack"><${MoneyPanels} data=${data} /><${Work} data=${data} /></div>
        <div class="stack"><${Checks} data=${data} onChange=${reload} /><${Waits} data=${data} /></div>
      </div>`}
  <//>`;
}

function Attention({ items }) {
  return html`<${Panel} id="attention" title="Needs you">
    ${items.length === 0
      ? html`<p>Nothing.</p>`
      : html`<ul class="attention">${items.map(([path, text]) => html`<li key=${text}><a href=${href(path)}>${text}</a></li>`)}</ul>`}
  <//>`;
}

const counted = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;

/** Return what an operator should look at, as `[address, sentence]`. */
export function attention(data) {
  const { reconciler, today } = data;
  const oldest = (seconds) => `the oldest for ${duration(seconds)}`;
  const late = data.ledgerChecks.filter(({ checkedAt }) => secondsBetween(checkedAt, new Date()) > CHECK_SECONDS);
  return [
    ...data.refusing.map((each) => ["providers", `${each.provider} refuses paid calls: ${each.trippedCode}`]),
    ...data.paused.map((each) => ["providers", `Paid calls are paused (${each.scope}): ${each.reason}`]),
    ...data.unknownSends.map((each) => ["jobs", `${each.provider}: ${counted(each.number, "send")} without an answer, ${oldest(each.oldestSeconds)}`]),
    ...data.openBills.map((each) => ["jobs", `${each.provider}: ${counted(each.number, "open bill")}, ${oldest(each.oldestSeconds)}`]),
    ...data.undelivered.filter(({ outcome }) => outcome.startsWith("webhook"))
      .map((each) => ["webhooks", `${counted(each.executions, "result")} paid for, but the webhook was not accepted (${each.outcome})`]),
    !reconciler.leads && ["overview", "No worker leads the reconciler"],
    reconciler.lastSuccessSeconds > SILENT_SECONDS && ["overview", `The reconciler is silent for ${duration(reconciler.lastSuccessSeconds)}`],
    ...reconciler.late.map((each) => ["overview", `The task ${each.task} has not succeeded for ${duration(each.ageSeconds)}`]),
    ...data.ledgerChecks.filter(({ findings }) => findings > 0).map((each) => ["overview", `The check “${each.name}” has ${each.findings} findings`]),
    ...late.map((each) => ["overview", `The check “${each.name}” has not run for a day`]),
    today.leftUsd === "0" && ["overview", "The daily spending cap is reached"],
  ].filter(Boolean);
}

function MoneyPanels({ data }) {
  const { today } = data;
  return html`
    <${Panel} id="today" title="Today, UTC">
      <p class="price"><${Money} usd=${today.settledUsd} /> <span class="quiet">spent</span></p>
      <${Report} result=${{ heldUsd: today.heldUsd, dailyCapUsd: today.dailyUsd, leftUsd: today.leftUsd }} />
    <//>
    <${Panel} id="in-flight" title="Money in flight" aside=${html`<strong><${Money} usd=${sum(data.inFlight.map(({ heldUsd }) => heldUsd))} /></strong>`}>
      <${Table} rows=${data.inFlight} label="Money in flight" empty="Nothing is held." />
    <//>
    <${Panel} id="undelivered" title="Spent in seven days without a delivered result" aside=${html`<a href=${href("jobs", { group: "undelivered" })}>Show</a>`}>
      <${Table} rows=${data.undelivered} label="Spent without a result" empty="Nothing." />
    <//>`;
}

function Work({ data }) {
  return html`
    <${Panel} id="executions" title="Open executions"><${Table} rows=${data.executions} label="Open executions" /><//>
    <${Panel} id="unknown" title="Sends without an answer"><${Table} rows=${data.unknownSends} label="Sends without an answer" /><//>`;
}

function Waits({ data }) {
  return html`
    <${Panel} id="bills" title="Open bills"><${Table} rows=${data.openBills} label="Open bills" /><//>
    <${Panel} id="pending" title="Webhooks on their way"><${Table} rows=${data.pendingWebhooks} label="Webhooks on their way" /><//>`;
}

function Checks({ data, onChange }) {
  const { reconciler } = data;
  const { run, busy, error } = useAction(async () => {
    await check("ledger check");
    await onChange();
  });
  return html`
    <${Panel} id="reconciler" title="Reconciler">
      <${Report} result=${{ leads: reconciler.leads, lastSuccessSeconds: reconciler.lastSuccessSeconds }} />
      ${reconciler.late.length > 0 && html`<${Table} rows=${reconciler.late} label="Late tasks" />`}
    <//>
    <${Panel} id="ledger" title="Checks of the ledger" aside=${html`<${Button} busy=${busy} onClick=${run}>Check now<//>`}>
      <${Problem} error=${error} />
      <${Table} rows=${data.ledgerChecks} columns=${["name", "findings", "checkedAt"]} label="Checks of the ledger" empty="No check has run yet." />
    <//>
    <${Panel} id="alarms" title="Alarms of users, seven days">
      <${Table} rows=${data.alarms} columns=${["at", "userId", "alarm", "usd", "percent"]} label="Alarms of users" />
    <//>`;
}
