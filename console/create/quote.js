// The price of the order, read again 300 ms after the last change.
import { post } from "../shared/api.js";
import { dollars } from "../shared/money.js";
import { Facts, Money, Notice, Panel, Problem } from "../shared/parts.js";
import { duration } from "../shared/time.js";
import { html, useEffect, useState } from "../shared/view.js";

const AFTER_LAST_CHANGE_MS = 300;

/** Return `{ quote, error, isCurrent }` of a body; null: nothing is quoted yet. */
export function useQuote(path, body) {
  const [result, setResult] = useState({ key: null, quote: null, error: null });
  const key = body && JSON.stringify([path, body]);
  useEffect(() => {
    if (!key) return undefined;
    const control = new AbortController();
    const timer = setTimeout(async () => {
      try {
        const quote = await post(path, body, { signal: control.signal });
        setResult({ key, quote, error: null });
      } catch (error) {
        if (!control.signal.aborted) setResult({ key, quote: null, error });
      }
    }, AFTER_LAST_CHANGE_MS);
    return () => {
      clearTimeout(timer);
      control.abort();
    };
  }, [key]);
  // The last quote stays while the next one is read, greyed, so the page does not jump.
  return { quote: key && result.quote, error: key && result.error, isCurrent: result.key === key };
}

/** steps: whether each step is listed with its price. left: what is left of the budget, in words. */
export function QuotePanel({ quote, error, isCurrent, left, steps = true }) {
  return html`<${Panel} id="price" title="Price">
    <div aria-live="polite" class=${isCurrent ? "stack" : "stack stale"}>
      <${Problem} error=${error} />
      ${!quote && !error && html`<p class="quiet">The price appears here as soon as the order is complete.</p>`}
      ${quote && html`
        <p class="price"><${Money} usd=${quote.expected} /> <span class="quiet">expected</span></p>
        <${Facts} items=${[
          ["Between", quote.low !== quote.worst && html`<${Money} usd=${quote.low} /> and <${Money} usd=${quote.worst} />`],
          ["Takes about", duration(quote.etaSeconds)],
        ]} />
        ${steps && html`<table>
          <thead><tr><th>Step</th><th>Model</th><th class="number">At most</th></tr></thead>
          <tbody>${quote.jobs.map((job) => html`<tr key=${job.step}>
            <th scope="row">${job.step}</th>
            <td>${job.model}<br /><span class="quiet">${dollars(job.unitPrice)} per ${job.unit}</span></td>
            <td class="number">${job.reuse === "yes" ? "paid before" : html`<${Money} usd=${job.worst} />`}</td>
          </tr>`)}</tbody>
        </table>`}
        ${quote.warnings.map(({ detail }) => html`<${Notice} kind="warn">${detail}<//>`)}`}
      ${left && html`<p class="quiet">${left}</p>`}
    </div>
  <//>`;
}
