// What a command returns, as facts and tables: names become words, money is exact, times are local.
import { Copy, Empty, Facts, Money } from "../shared/parts.js";
import { duration, Time } from "../shared/time.js";
import { html } from "../shared/view.js";

/** The rows that a command lists at most. */
const LIMIT = 100;
const ID = /^(exec|job|usr|evt|end|key|pkey)_/;
const INSTANT = /^\d{4}-\d\d-\d\dT/;
const ISO = /(^at|At|Until|since)$/;

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const isRows = (value) => Array.isArray(value) && value.length > 0 && value.every(isObject);

/** Return the words of a field: `heldUsd` is "Held", `oldestSeconds` is "Oldest". */
export function words(name) {
  const short = name.replace(/(Usd|Seconds|Id)$/, "") || name;
  const text = short.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** Show a value by the name of its field. */
export function Value({ name, value }) {
  if (value === null || value === undefined || value === "") return "–";
  if (value === true) return "yes";
  if (value === false) return "no";
  if (/^usd$|Usd$/.test(name)) return html`<${Money} usd=${value} />`;
  if (/Seconds$/.test(name)) return duration(value);
  if (typeof value === "string" && ISO.test(name) && INSTANT.test(value)) return html`<${Time} at=${value} form="short" />`;
  if (typeof value === "string" && ID.test(value)) return html`<${Copy} text=${value} />`;
  if (Array.isArray(value) && !value.some(isObject)) return value.join(", ") || "–";
  return typeof value === "object" ? html`<code class="wrap">${JSON.stringify(value)}</code>` : String(value);
}

/**
 * Rows as a table. columns: names of fields, or `[name, render]` with a function of `{ row }`.
 * by: the field that names a row, if rows have buttons.
 */
export function Table({ rows, columns, by, label, empty = "None." }) {
  if (rows.length === 0) return html`<p class="quiet">${empty}</p>`;
  const shown = (columns ?? Object.keys(rows[0])).map((each) => (Array.isArray(each) ? each : [each]));
  const isNumber = (name) => /Usd$|^usd$|Seconds$/.test(name) || typeof rows[0][name] === "number";
  return html`<div class="scroll" tabindex="0" role="group" aria-label=${label}><table class="pile">
    ${rows.length === LIMIT && html`<caption>The first ${LIMIT}. A filter shows others.</caption>`}
    <thead><tr>${shown.map(([name]) => html`<th class=${isNumber(name) ? "number" : ""}>${words(name)}</th>`)}</tr></thead>
    <tbody>${rows.map((row, at) => html`<tr key=${by ? row[by] : at}>${shown.map(([name, render]) => html`<td class=${isNumber(name) ? "number" : ""} data-label=${words(name)}>
      ${render ? render({ row }) : html`<${Value} name=${name} value=${row[name]} />`}</td>`)}</tr>`)}</tbody>
  </table></div>`;
}

/** A whole result: its plain fields, then each nested part under its name. */
export function Report({ result }) {
  if (Array.isArray(result)) return isRows(result) ? html`<${Table} rows=${result} label="Result" />` : html`<${Empty}>None.<//>`;
  const fields = Object.entries(result).filter(([name]) => name !== "dryRun");
  const isNested = ([, value]) => isObject(value) || isRows(value);
  return html`
    <${Facts} items=${fields.filter((each) => !isNested(each)).map(([name, value]) => [words(name), html`<${Value} name=${name} value=${value} />`])} />
    ${fields.filter(isNested).map(([name, value]) => html`<section class="stack"><h3>${words(name)}</h3><${Report} result=${value} /></section>`)}`;
}
