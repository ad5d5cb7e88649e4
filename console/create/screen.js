// Order a video, an image, a speech or a transcript, with its price before it is bought.
import { newOrderKey, post } from "../shared/api.js";
import { compare, dollars } from "../shared/money.js";
import { Button, Loading, Notice, Page, Panel, Problem } from "../shared/parts.js";
import { navigate } from "../shared/router.js";
import { useAction, useResource } from "../shared/resource.js";
import { html, useRef, useState } from "../shared/view.js";
import { Code } from "./code.js";
import { Field, ModelField } from "./fields.js";
import { KINDS } from "./kinds.js";
import { EMPTY, bodyOf, buysPicture, chosenModel, inputFor, modelsOfKind } from "./order.js";
import { QuotePanel, useQuote } from "./quote.js";

const AMOUNT = /^\d{1,9}(\.\d{1,9})?$/;

export default function CreateScreen() {
  const models = useResource("/api/models");
  const usage = useResource("/api/usage");
  return html`<${Page} title="Create">
    <${Problem} error=${models.error} again=${models.reload} />
    ${!models.data && !models.error && html`<${Loading} what="models" />`}
    ${models.data && html`<${Form} models=${models.data.data} usage=${usage.data} />`}
  <//>`;
}

function Form({ models, usage }) {
  const [values, setValues] = useState(EMPTY);
  const set = (changes) => setValues((last) => ({ ...last, ...changes }));
  const kind = KINDS[values.kind];
  const model = chosenModel(models, values.kind, values.model);
  const body = bodyOf(values, models);
  const { quote, error, isCurrent } = useQuote(`/api/quotes${kind.quote}`, body);
  const maxCost = values.maxCost ?? quote?.worst ?? "";
  const isAmount = AMOUNT.test(maxCost);
  const order = body && isAmount ? { ...body, maxCost } : null;
  const key = useOrderKey(kind.path, order);
  const buy = useAction(async () => {
    const accepted = await post(kind.path, order, { key });
    navigate(`executions/${accepted.executionId}`);
  });
  const submit = (event) => {
    event.preventDefault();
    if (order && quote && isCurrent) buy.run(); // also by the Enter key
  };
  const change = (name, value) => set({ inputs: { ...values.inputs, [name]: value } });
  const isTooLow = isAmount && quote && compare(maxCost, quote.worst) < 0;
  return html`<form class="two-columns" onSubmit=${submit}>
    <div class="stack">
      <${Panel} id="order" title="What to make">
        <div class="choices" role="group" aria-label="Kind">
          ${Object.entries(KINDS).filter(([name]) => modelsOfKind(models, name).length > 0).map(([name, each]) => html`
            <button type="button" aria-pressed=${values.kind === name}
              onClick=${() => set({ kind: name, model: "", inputs: {}, maxCost: null })}>${each.name}</button>`)}
        </div>
        ${kind.text && html`<${Text} text=${kind.text} value=${values.text} onInput=${(text) => set({ text })} />`}
        <${Models} values=${values} models=${models} model=${model} set=${set} />
        <div class="fields">${kind.inputs.map((name) => html`<${ModelField} key=${name} name=${name} model=${model}
          input=${inputFor(values, models, name)} value=${values.inputs[name]}
          onChange=${(value) => change(name, value)} />`)}</div>
        <${Field} id="webhook" label="Webhook (optional)" help="This address receives a signed message at the end.">
          <input id="webhook" type="url" placeholder="https://" value=${values.webhook}
            onInput=${(event) => set({ webhook: event.target.value })} />
        <//>
      <//>
      <${Code} path=${kind.path} method=${kind.method} order=${order} />
    </div>
    <div class="stack sticky">
      <${QuotePanel} quote=${quote} error=${error} isCurrent=${isCurrent} left=${leftWords(usage)} />
      <${Panel} id="buy" title="Order">
        <${Field} id="max-cost" label="At most, in US dollars" help="The order never costs more, retries included.">
          <input id="max-cost" inputmode="decimal" value=${maxCost} placeholder="0.00"
            onInput=${(event) => set({ maxCost: event.target.value || null })} />
        <//>
        ${isTooLow && html`<${Notice} kind="warn">The price may reach ${dollars(quote.worst)}; the order would be refused.<//>`}
        <${Problem} error=${buy.error} />
        ${buy.error?.isUncertain && html`<p class="quiet">The order may have arrived. Order again: the same order is accepted once.</p>`}
        <${Button} kind="primary" type="submit" busy=${buy.busy} disabled=${!order || !quote || !isCurrent}>
          ${isAmount ? `Order for at most ${dollars(maxCost)}` : "Order"}
        <//>
      <//>
    </div>
  </form>`;
}

/** Return the key of an order: the same as long as the order is the same. */
function useOrderKey(path, order) {
  const last = useRef({ text: "", key: "" });
  const text = JSON.stringify([path, order]);
  if (last.current.text !== text) last.current = { text, key: newOrderKey() };
  return last.current.key;
}

function Text({ text, value, onInput }) {
  const length = [...value].length;
  return html`<${Field} id="text" label=${text.label} help=${`${length} of ${text.max} characters`}>
    <textarea id="text" rows="4" required maxlength=${text.max} value=${value} aria-describedby="text-help"
      onInput=${(event) => onInput(event.target.value)}></textarea>
  <//>`;
}

function Models({ values, models, model, set }) {
  const isVideo = values.kind === "video";
  const mayUseText = isVideo && !model.limits.needsImage && !values.inputs.image;
  return html`<div class="fields">
    <${ModelChoice} id="model" label="Model" models=${modelsOfKind(models, values.kind)} value=${values.model}
      onChange=${(id) => set({ model: id, maxCost: null })} />
    ${isVideo && html`<${ModelChoice} id="image-model" label="Model of the first picture" models=${modelsOfKind(models, "image").filter(({ limits }) => !limits.needsImage)}
      value=${values.imageModel} disabled=${!buysPicture(values)} onChange=${(id) => set({ imageModel: id })} />`}
    ${mayUseText && html`<label class="check"><input type="checkbox" checked=${values.textToVideo}
      onChange=${(event) => set({ textToVideo: event.target.checked })} /> From the text alone, without a first picture</label>`}
  </div>`;
}

function ModelChoice({ id, label, models, value, disabled, onChange }) {
  return html`<${Field} id=${id} label=${label}>
    <select id=${id} value=${value} disabled=${disabled} onChange=${(event) => onChange(event.target.value)}>
      ${models.map((each, place) => html`<option value=${place === 0 ? "" : each.id}>${each.id}</option>`)}
    </select>
  <//>`;
}

function leftWords(usage) {
  if (!usage || usage.usd.left === null) return "";
  return `${dollars(usage.usd.left)} left of this month's ${dollars(usage.usd.limit)}.`;
}
