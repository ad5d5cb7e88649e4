// All executions, newest first, live; filters are in the address.
import { TYPE_NAMES } from "../shared/execution.js";
import { Empty, Loading, Page, Problem } from "../shared/parts.js";
import { href, replaceQuery } from "../shared/router.js";
import { may } from "../shared/session.js";
import { html, useEffect, useRef } from "../shared/view.js";
import { useExecutions } from "./list.js";
import { Rows } from "./rows.js";
import { SelectionBar, useSelection } from "./selection.js";

const STATUSES = ["", "running", "queued", "completed", "failed", "cancelled"];

export default function ExecutionsScreen({ query, session }) {
  const filters = {
    status: query.status,
    type: query.type,
    metadataKey: query.key,
    metadataValue: query.key && query.value,
  };
  const { items, error, loading, hasMore, more, reload } = useExecutions(filters);
  const selection = useSelection();
  const mayChange = may(session, "generate");
  const isFiltered = Object.values(filters).some(Boolean);
  return html`<${Page} title="Executions">
    <${Filters} query=${query} />
    <${Problem} error=${error} again=${reload} />
    ${!items && !error && html`<${Loading} what="executions" />`}
    ${items?.length === 0 && !loading && !hasMore && html`<${Empty}>${isFiltered
      ? html`<p>No execution matches.</p><p><a href=${href("executions")}>Show all</a></p>`
      : html`<p>Nothing has been made yet.</p>
        <p><a href=${href("create")}>Create something</a></p>`}<//>`}
    ${items?.length > 0 && html`
      ${mayChange && html`<${SelectionBar} executions=${items.map(({ execution }) => execution)} selection=${selection} onDone=${reload} />`}
      <${Rows} items=${items} selection=${mayChange ? selection : null} />`}
    ${hasMore && html`<${More} onVisible=${more} loading=${loading} />`}
  <//>`;
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
