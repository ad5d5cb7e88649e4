// A bar chart as SVG, with a table of the same numbers for people who do not see it.
import { compare, dollars, sum } from "./money.js";
import { html } from "./view.js";

const HEIGHT = 120;
const GAP = 2;
const WIDTH = 20;

/** bars: `{ name, parts: [{ kind, usd }] }`, drawn on each other from the bottom. title: what they show. */
export function Bars({ title, bars, kinds }) {
  const totals = bars.map(({ parts }) => sum(parts.map(({ usd }) => usd)));
  const most = totals.reduce((last, each) => (compare(each, last) > 0 ? each : last), "0");
  return html`<figure class="chart">
    <svg viewBox=${`0 0 ${bars.length * WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
      ${bars.map((bar, place) => html`<${Bar} bar=${bar} total=${totals[place]} x=${place * WIDTH} most=${most} />`)}
    </svg>
    <figcaption>
      ${kinds.map(({ kind, name }) => html`<span class=${`key key-${kind}`}>${name}</span>`)}
      <span class="quiet">highest: ${dollars(most)}</span>
    </figcaption>
    <div class="hidden"><table>
      <caption>${title}</caption>
      <thead><tr><th>Day</th>${kinds.map(({ name }) => html`<th>${name}</th>`)}</tr></thead>
      <tbody>${bars.map(({ name, parts }) => html`<tr><th scope="row">${name}</th>
        ${parts.map(({ usd }) => html`<td>${dollars(usd)}</td>`)}</tr>`)}</tbody>
    </table></div>
  </figure>`;
}

function Bar({ bar, total, x, most }) {
  let bottom = HEIGHT;
  return html`<g><title>${`${bar.name}: ${dollars(total)}`}</title>
    <rect class="bar-room" x=${x} y="0" width=${WIDTH - GAP} height=${HEIGHT} />
    ${bar.parts.map(({ kind, usd }) => {
      const height = compare(most, "0") > 0 ? (Number(usd) / Number(most)) * HEIGHT : 0;
      bottom -= height;
      return html`<rect class=${`bar-${kind}`} x=${x} y=${bottom} width=${WIDTH - GAP} height=${height} />`;
    })}
  </g>`;
}
