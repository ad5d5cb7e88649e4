// The rows of the list. Only those near the window are in the page, so ten thousand stay smooth.
import { TYPE_NAMES, modelsOf, pictureOf, shortId, titleOf } from "../shared/execution.js";
import { Money } from "../shared/parts.js";
import { href } from "../shared/router.js";
import { Progress, Status, isOpen, shownState } from "../shared/status.js";
import { Time, duration } from "../shared/time.js";
import { html, useEffect, useRef, useState } from "../shared/view.js";

const CHUNK = 25;
const NEAR = "1200px";

/** items: `{ execution, readAt }`. selection: of `useSelection`, or null where nothing can be done. */
export function Rows({ items, selection }) {
  const first = useRef(null);
  first.current ??= items[0].execution.id;
  return html`<div class="executions">${chunksOf(items, first.current).map(({ key, part }) => html`
    <${Chunk} key=${key} items=${part} selection=${selection} />`)}</div>`;
}

/**
 * Return the items in chunks. Their borders are counted from an item, so that a row which is added
 * before it moves no other row to another chunk.
 */
function chunksOf(items, firstId) {
  const place = Math.max(0, items.findIndex(({ execution }) => execution.id === firstId));
  const chunks = [];
  for (let at = 0, end; at < items.length; at = end) {
    const number = Math.floor((at - place) / CHUNK);
    end = place + (number + 1) * CHUNK;
    chunks.push({ key: number, part: items.slice(at, end) });
  }
  return chunks;
}

/** Rows, or an empty list of the same height while they are far from the window. */
function Chunk({ items, selection }) {
  const list = useRef(null);
  const [height, setHeight] = useState(null);
  useEffect(() => {
    const observer = new IntersectionObserver(([entry]) => {
      const isNear = entry.isIntersecting || list.current.contains(document.activeElement);
      setHeight(isNear ? null : entry.boundingClientRect.height);
    }, { rootMargin: NEAR });
    observer.observe(list.current);
    return () => observer.disconnect();
  }, []);
  const style = height === null ? {} : { height: `${height}px` };
  return html`<ol ref=${list} style=${style}>${height === null && items.map((item) => html`
    <${Row} key=${item.execution.id} ...${item} selection=${selection} />`)}</ol>`;
}

function Row({ execution, readAt, selection }) {
  const picture = pictureOf(execution);
  const title = titleOf(execution);
  return html`<li class="execution">
    ${selection && html`<label class="select"><input type="checkbox" aria-label=${`Select ${title}`}
      checked=${selection.ids.has(execution.id)} onChange=${() => selection.toggle(execution.id)} /></label>`}
    <span class="thumb">${picture
      ? html`<img src=${picture} alt="" loading="lazy" decoding="async" />`
      : html`<span class=${`thumb-none thumb-${execution.type}`} aria-hidden="true"></span>`}</span>
    <div class="execution-what">
      <a class="execution-title" href=${href(`executions/${execution.id}`)}>${title}</a>
      <span class="quiet">${TYPE_NAMES[execution.type]} · ${modelsOf(execution).join(", ") || "no model"} · <code>${shortId(execution.id)}</code></span>
    </div>
    <div class="execution-state">
      <${Status} state=${shownState(execution)} />
      ${isOpen(execution)
        ? html`<${Progress} execution=${execution} readAt=${readAt} />`
        : execution.error && html`<span class="quiet clip" title=${execution.error.message}>${execution.error.message}</span>`}
      ${execution.eta && html`<span class="quiet">about ${duration(execution.eta.seconds)} left</span>`}
    </div>
    <div class="execution-cost">
      <${Money} usd=${isOpen(execution) ? execution.cost.held : execution.cost.settled} />
      <span class="quiet">${isOpen(execution) ? "held" : "paid"}</span>
    </div>
    <div class="execution-age quiet"><${Time} at=${execution.createdAt} /></div>
  </li>`;
}
