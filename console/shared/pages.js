// A list that the API returns in pages by cursor.
import { get, withQuery } from "./api.js";
import { useCallback, useEffect, useRef, useState } from "./view.js";

const PAGE = 30;

/** Read a list. Returns `{ items, error, hasMore, more, reload }`; items: null until the first page. */
export function usePages(path, filters = {}) {
  const [state, setState] = useState({ items: null, cursor: null, error: null });
  const generation = useRef(0);
  const key = JSON.stringify([path, filters]);
  const read = useCallback(async (cursor) => {
    const mine = cursor ? generation.current : (generation.current += 1);
    try {
      const page = await get(withQuery(path, { ...filters, cursor, limit: PAGE }));
      if (mine !== generation.current) return;
      setState((last) => ({
        items: cursor ? [...last.items, ...page.data] : page.data,
        cursor: page.nextCursor,
        error: null,
      }));
    } catch (error) {
      if (mine === generation.current) setState((last) => ({ ...last, error }));
    }
  }, [key]);
  useEffect(() => {
    setState({ items: null, cursor: null, error: null });
    read();
  }, [read]);
  const { items, cursor, error } = state;
  return { items, error, hasMore: Boolean(cursor), more: () => read(cursor), reload: () => read() };
}
