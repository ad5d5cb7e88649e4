// All executions: picture, status, live progress, cost; filters are in the address.
import { TYPE_NAMES, modelsOf, pictureOf, shortId, titleOf } from "../shared/execution.js";
import { Empty, Loading, Money, Page, Problem } from "../shared/parts.js";
import { href, replaceQuery } from "../shared/router.js";
import { Progress, Status, isOpen, shownState } from "../shared/status.js";
import { Time, duration } from "../shared/time.js";
import { html, useEffect, useRef } from "../shared/view.js";
import { useExecutions } from "./list.js";

const STATUSES = ["", "running", "queued", "completed", "failed", "cancelled"];

export default function ExecutionsScreen({ query }) {
  const filters = {
    status: query.status,
    type: query.type,
    metadataKey: query.key,
    metadataValue: query.key && query.value,
  };
  const { items, error, loading, hasMore, more, reload } = useExecutions(filters);
  const isFiltered = Object.values(filters).some(Boolean);
  return html`<${Page} title="Executions">
    <${Filters} query=${query} />
    <${Problem} error=${error} again=${reload} />
    ${!items && !error && html`<${Loading} what="executions" />`}
    ${items?.length === 0 && !loading && html`<${Empty}>${isFiltered
      ? html`<p>No execution matches.</p><p><a href=${href("executions")}>Show all</a></p>`
      : html`<p>Nothing has been made yet.</p>
        <p><a href=${href("create")}>Create something</a></p>`}<//>`}
    ${items?.length > 0 && html`<ol class="executions">
      ${items.map((item) => html`<${Row} key=${item.execution.id} ...${item} />`)}
    </ol>`}
    ${hasMore && html`<${More} onVisible=${more} loading=${loading} />`}
  <//>`;
}

function Row({ execution, readAt }) {
  const picture = pictureOf(execution);
  const state = shownState(execution);
  return html`<li class="execution">
    <span class="thumb">${picture
      ? html`<img src=${picture} alt="" loading="lazy" decoding="async" />`
      : html`<span class=${`thumb-none thumb-${execution.type}`} aria-hidden="true"></span>`}</span>
    <div class="execution-what">
      <a class="execution-title" href=${href(`executions/${execution.id}`)}>${titleOf(execution)}</a>
      <span class="quiet">${TYPE_NAMES[execution.type]} · ${modelsOf(execution).join(", ") || "no model"} · <code>${shortId(execution.id)}</code></span>
    </div>
    <div class="execution-state">
      <${Status} state=${state} />
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

function Filters({ query }) {
  const change = (changes) => replaceQuery("executions", { ...query, ...changes });
  const search = (event) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    change({ key: form.get("key").trim(), value: form.get("value").trim() });
  };
  return html`<div class="filters">
    <div class="choices" role="group" aria-label="Status">${STATUSES.map((status) => html`
      <button type="button" aria-pressed=${(query.status ?? "") === status}
        onClick=${() => change({ status })}>${status ? status[0].toUpperCase() + status.slice(1) : "All"}</button>`)}
    </div>
    <select aria-label="Kind" value=${query.type ?? ""} onChange=${(event) => change({ type: event.target.value })}>
      <option value="">Every kind</option>
      ${Object.entries(TYPE_NAMES).map(([type, name]) => html`<option value=${type}>${name}</option>`)}
    </select>
    <form class="search" role="search" onSubmit=${search}>
      <input name="key" aria-label="Metadata name" placeholder="metadata name" value=${query.key ?? ""} />
      <input name="value" aria-label="Metadata value" placeholder="value" value=${query.value ?? ""} />
      <button type="submit" class="button">Search</button>
    </form>
  </div>`;
}

/** A button that also acts when it is scrolled into view. */
function More({ onVisible, loading }) {
  const ref = useRef(null);
  const latest = useRef(onVisible);
  latest.current = onVisible;
  useEffect(() => {
    const observer = new IntersectionObserver(
      ([entry]) => entry.isIntersecting && latest.current(),
      { rootMargin: "400px" },
    );
    observer.observe(ref.current);
    return () => observer.disconnect();
  }, [loading]);
  return html`<p class="more" ref=${ref}>
    <button type="button" class="button" onClick=${onVisible}>${loading ? "Loading …" : "Show more"}</button>
  </p>`;
}
