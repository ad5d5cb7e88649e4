// The executions that are listed: pages by cursor, kept up to date by the event stream.
import { get, withQuery } from "../shared/api.js";
import { useEvents } from "../shared/events.js";
import { useDebounced } from "../shared/resource.js";
import { useCallback, useEffect, useRef, useState } from "../shared/view.js";

const FIRST_PAGE = 30;
const LATER_PAGE = 100;
const READ_AGAIN_MS = 300;
const MOST_SINGLE_READS = 8;
const PATH = "/api/executions";

/** Return `{ items, error, more, loading, reload }`. items: `{ execution, readAt }`, newest first. */
export function useExecutions(filters) {
  const [state, setState] = useState({ items: null, cursor: null, error: null, loading: false });
  const latest = useRef(state);
  latest.current = state;
  const generation = useRef(0);
  const key = JSON.stringify(filters);

  const read = useCallback(async (cursor) => {
    const mine = generation.current;
    setState((last) => ({ ...last, loading: true }));
    try {
      const page = await get(withQuery(PATH, { ...filters, cursor, limit: cursor ? LATER_PAGE : FIRST_PAGE }));
      if (mine !== generation.current) return;
      setState((last) => addPage(last, page, cursor));
    } catch (error) {
      if (mine === generation.current) setState((last) => ({ ...last, error, loading: false }));
    }
  }, [key]);

  useEffect(() => {
    generation.current += 1;
    setState({ items: null, cursor: null, error: null, loading: false });
    read();
  }, [read]);

  const changed = useRef(new Set());
  const readChanged = useDebounced(() => {
    const ids = [...changed.current];
    changed.current.clear();
    const known = new Set((latest.current.items ?? []).map(({ execution }) => execution.id));
    if (ids.some((id) => !known.has(id)) || ids.length > MOST_SINGLE_READS) read();
    else ids.forEach((id) => readOne(id).then((item) => item && setState((last) => replace(last, item))));
  }, READ_AGAIN_MS);

  useEvents((event) => {
    if (event.type === "refresh") read();
    if (event.type !== "changed") return;
    changed.current.add(event.executionId);
    readChanged();
  });

  const more = () => {
    if (state.cursor && !state.loading) read(state.cursor);
  };
  return { ...state, hasMore: Boolean(state.cursor), more, reload: () => read() };
}

async function readOne(id) {
  try {
    return { execution: await get(`${PATH}/${id}`), readAt: Date.now() };
  } catch {
    return null; // the next event or page reads it again
  }
}

/** Add a page: the first one replaces what it has and keeps the later pages. */
function addPage(last, page, cursor) {
  const readAt = Date.now();
  const items = page.data.map((execution) => ({ execution, readAt }));
  if (cursor) {
    const known = new Set(last.items.map(({ execution }) => execution.id));
    const added = items.filter(({ execution }) => !known.has(execution.id));
    return { ...last, items: [...last.items, ...added], cursor: page.nextCursor, error: null, loading: false };
  }
  const end = items.at(-1)?.execution.id ?? "";
  const older = page.nextCursor ? (last.items ?? []).filter(({ execution }) => execution.id < end) : [];
  return {
    items: [...items, ...older],
    cursor: older.length > 0 ? last.cursor : page.nextCursor,
    error: null,
    loading: false,
  };
}

function replace(last, item) {
  const items = last.items.map((each) => (each.execution.id === item.execution.id ? item : each));
  return { ...last, items };
}
