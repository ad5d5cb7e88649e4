// The money of a month: budget, days, models, and a file with the numbers.
import { withQuery } from "../shared/api.js";
import { Bars } from "../shared/bars.js";
import { dollars, sum } from "../shared/money.js";
import { Empty, Facts, Loading, Money, Page, Panel, Problem } from "../shared/parts.js";
import { href } from "../shared/router.js";
import { useResource } from "../shared/resource.js";
import { Time } from "../shared/time.js";
import { html } from "../shared/view.js";
import { csvOf, daysOf, monthBefore, monthAfter, presentMonth } from "./month.js";

const KINDS = [{ kind: "settled", name: "Paid" }, { kind: "held", name: "Held" }];

export default function UsageScreen({ query }) {
  const month = query.month || presentMonth();
  const { data, error, reload } = useResource(withQuery("/api/usage", { month }));
  return html`<${Page} title="Usage" aside=${html`<${Months} month=${month} />`}>
    <${Problem} error=${error} again=${reload} />
    ${!data && !error && html`<${Loading} what="the usage" />`}
    ${data && html`
      <div class="two-columns">
        <${Days} usage=${data} />
        <${Budget} usage=${data} />
      </div>
      <${Models} usage=${data} />`}
  <//>`;
}

function Months({ month }) {
  const isPresent = month >= presentMonth();
  return html`<div class="row">
    <a class="button" href=${href("usage", { month: monthBefore(month) })}>Month before</a>
    <strong>${month}</strong>
    ${!isPresent && html`<a class="button" href=${href("usage", { month: monthAfter(month) })}>Month after</a>`}
  </div>`;
}

function Days({ usage }) {
  const used = new Map(usage.byDay.map((day) => [day.date, day]));
  const bars = daysOf(usage.month).map((date) => {
    const { settled, held } = used.get(date) ?? { settled: "0", held: "0" };
    return { name: date, parts: [{ kind: "settled", usd: settled }, { kind: "held", usd: held }] };
  });
  const file = `data:text/csv;charset=utf-8,${encodeURIComponent(csvOf(usage))}`;
  const aside = html`<a href=${file} download=${`usage-${usage.month}.csv`}>Save as CSV</a>`;
  return html`<${Panel} id="days" title="By day" aside=${used.size > 0 && aside}>
    ${used.size > 0
      ? html`<${Bars} title="Paid and held by day" bars=${bars} kinds=${KINDS} />`
      : html`<${Empty}><p>Nothing was ordered in this month.</p><//>`}
    <p class="quiet">Days and months are in UTC. Money belongs to the day on which it was held.</p>
  <//>`;
}

function Budget({ usage }) {
  const { usd, videos } = usage;
  return html`<${Panel} id="budget" title="Budget">
    <p class="price"><${Money} usd=${usd.settled} /> <span class="quiet">paid</span></p>
    ${usd.limit !== null && html`<${Share} usd=${usd} />`}
    <${Facts} items=${[
      ["Held", html`<${Money} usd=${usd.held} />`],
      ["Limit", usd.limit === null ? "none" : html`<${Money} usd=${usd.limit} />`],
      ["Left", usd.left === null ? null : html`<${Money} usd=${usd.left} />`],
      ["Videos", `${videos.settled}${videos.limit === null ? "" : ` of ${videos.limit}`}${videos.held ? `, ${videos.held} in progress` : ""}`],
      ["Next month", html`<${Time} at=${usage.resetsAt} form="short" />`],
    ]} />
    ${usage.thresholds.map(({ kind, percent, reachedAt }) => html`<p class="quiet" key=${`${kind}/${percent}`}>
      ${percent} % of the ${kind} limit reached <${Time} at=${reachedAt} form="short" /></p>`)}
  <//>`;
}

function Share({ usd }) {
  const used = sum([usd.settled, usd.held]);
  const percent = Math.min(100, Math.round((100 * Number(used)) / Math.max(Number(usd.limit), 1e-9)));
  return html`<div class="progress">
    <progress max="100" value=${percent} aria-label="Share of the budget that is used"></progress>
    <span class="progress-text">${percent} %</span>
  </div>`;
}

function Models({ usage }) {
  if (usage.byModel.length === 0) return null;
  return html`<${Panel} id="models" title="By model">
    <div class="scroll"><table class="pile">
      <thead><tr><th>Model</th><th>Provider</th><th class="number">Purchases</th><th class="number">Paid</th><th class="number">Held</th></tr></thead>
      <tbody>${usage.byModel.map((each) => html`<tr key=${`${each.provider}/${each.model}`}>
        <th scope="row" class="wrap">${each.model}</th><td data-label="Provider">${each.provider}</td>
        <td class="number" data-label="Purchases">${each.jobs}</td>
        <td class="number" data-label="Paid">${dollars(each.settled)}</td><td class="number" data-label="Held">${dollars(each.held)}</td>
      </tr>`)}</tbody>
    </table></div>
  <//>`;
}
