// A film of several steps: the plan as text, its steps with prices and errors, and the order.
import { newOrderKey, post } from "../shared/api.js";
import { dollars } from "../shared/money.js";
import { Button, Money, Page, Panel, Problem } from "../shared/parts.js";
import { useAction } from "../shared/resource.js";
import { href, navigate } from "../shared/router.js";
import { html, useRef, useState } from "../shared/view.js";
import { Code } from "../create/code.js";
import { QuotePanel, useQuote } from "../create/quote.js";
import { EXAMPLES } from "./examples.js";
import { errorsBySteps, parsePlan, usedSteps } from "./text.js";

const written = (plan) => JSON.stringify(plan, null, 2);
const KEPT = "takeone.plan";

export default function PlanScreen() {
  const [text, setText] = useState(() => sessionStorage.getItem(KEPT) ?? written(EXAMPLES[0].plan));
  const change = (next) => {
    sessionStorage.setItem(KEPT, next);
    setText(next);
  };
  const { plan, error: unreadable } = parsePlan(text);
  const { quote, error, isCurrent } = useQuote("/api/quotes", plan ? { plan } : null);
  const order = plan && quote && isCurrent ? { plan, maxCost: quote.worst } : null;
  const { steps: wrong, rest } = errorsBySteps(error);
  const isPlaced = wrong.size > 0 && rest.length === 0;
  return html`<${Page} title="Plan" aside=${html`<${Examples} onChoose=${(example) => change(written(example))} />`}>
    <div class="two-columns">
      <div class="stack">
        <${Panel} id="text" title="The plan">
          <label class="hidden" for="plan-text">The plan as JSON</label>
          <textarea id="plan-text" class="plan-text" spellcheck="false" value=${text}
            aria-invalid=${Boolean(unreadable || error)} onInput=${(event) => change(event.target.value)}></textarea>
          ${unreadable && html`<p class="notice notice-bad" role="alert">${unreadable}</p>`}
          <p class="quiet">A step uses the file of another one by <code>{"step": name}</code>. Files of your own
            are in${" "}<a href=${href("assets")}>Assets</a>: <code>{"asset": id}</code>.</p>
        <//>
        <${Code} path="/api/executions" method="create" order=${order} />
      </div>
      <div class="stack">
        ${plan && html`<${Steps} plan=${plan} quote=${isCurrent ? quote : null} wrong=${wrong} />`}
        <${QuotePanel} quote=${quote} isCurrent=${isCurrent} steps=${false}
          error=${isPlaced ? null : error} />
        <${Order} order=${order} />
      </div>
    </div>
  <//>`;
}

const Examples = ({ onChoose }) => html`<select aria-label="Examples" value=""
  onChange=${(event) => {
    const example = EXAMPLES.find(({ name }) => name === event.target.value);
    event.target.value = "";
    if (example) onChoose(example.plan);
  }}>
  <option value="">Begin with an example …</option>
  ${EXAMPLES.map(({ name }) => html`<option>${name}</option>`)}
</select>`;

function Steps({ plan, quote, wrong }) {
  const steps = Array.isArray(plan.steps) ? plan.steps : [];
  const prices = new Map((quote?.jobs ?? []).map((job) => [job.step, job]));
  return html`<${Panel} id="steps" title="Steps">
    ${steps.length === 0 && html`<p class="quiet">The plan has no steps yet.</p>`}
    <ol class="plan-steps">${steps.map((step, place) => html`<${Step} key=${place} step=${step ?? {}} errors=${wrong.get(place) ?? []} job=${prices.get(step?.name)} />`)}</ol>
  <//>`;
}

function Step({ step, errors, job }) {
  const used = [...new Set(usedSteps(step.params))];
  return html`<li class=${errors.length > 0 ? "wrong" : ""}>
    <header><strong class="wrap">${String(step.name ?? "unnamed")}</strong>
      ${job && html`<span class="quiet">${job.provider === "media" ? "free" : html`at most <${Money} usd=${job.worst} />`}</span>`}</header>
    <span class="quiet">${[String(step.kind ?? "no kind"), job && job.provider !== "media" && job.model, used.length > 0 && `uses ${used.join(", ")}`].filter(Boolean).join(" · ")}</span>
    ${errors.map(({ pointer, detail }) => html`<p role="alert"><code>${pointer.replace(/^\/plan\/steps\/\d+\//, "")}</code> ${detail}</p>`)}
  </li>`;
}

function Order({ order }) {
  const keys = useRef({ text: "", key: "" });
  const { run, busy, error } = useAction(async () => {
    const text = JSON.stringify(order);
    if (keys.current.text !== text) keys.current = { text, key: newOrderKey() };
    const accepted = await post("/api/executions", order, { key: keys.current.key });
    navigate(`executions/${accepted.executionId}`);
  });
  return html`<${Panel} id="buy" title="Order">
    <p class="quiet">Media steps are free. The order never costs more than its price at worst.</p>
    <${Problem} error=${error} />
    ${error?.isUncertain && html`<p class="quiet">The order may have arrived. Order again: the same order is accepted once.</p>`}
    <${Button} kind="primary" busy=${busy} disabled=${!order} onClick=${run}>
      ${order ? `Order for at most ${dollars(order.maxCost)}` : "Order"}
    <//>
  <//>`;
}
