// Reading a document of the API from a component.
import { get } from "./api.js";
import { useCallback, useEffect, useRef, useState } from "./view.js";

/**
 * Read a path, and again when it changes; null: nothing. While it is read again, the last answer
 * stays. Returns `{ data, error, reload }`; `reload()` returns a promise.
 */
export function useResource(path) {
  const [result, setResult] = useState({ data: null, error: null, path: null });
  const reading = useRef(null);
  const reload = useCallback(async () => {
    reading.current?.abort();
    if (path === null) return;
    const control = new AbortController();
    reading.current = control;
    try {
      const data = await get(path, { signal: control.signal });
      if (!control.signal.aborted) setResult({ data, error: null, path });
    } catch (error) {
      if (control.signal.aborted) return;
      setResult((last) => ({ data: last.path === path ? last.data : null, error, path }));
    }
  }, [path]);
  useEffect(() => {
    reload();
    return () => reading.current?.abort();
  }, [reload]);
  const isCurrent = result.path === path;
  return { data: isCurrent ? result.data : null, error: isCurrent ? result.error : null, reload };
}

/** Return a function that calls the latest `action` once, `milliseconds` after its last call. */
export function useDebounced(action, milliseconds) {
  const latest = useRef(action);
  latest.current = action;
  const timer = useRef(0);
  useEffect(() => () => clearTimeout(timer.current), []);
  return useCallback((...values) => {
    clearTimeout(timer.current);
    timer.current = setTimeout(() => latest.current(...values), milliseconds);
  }, [milliseconds]);
}

/** Run an async action from a button: `{ run, busy, error }`. A second click while it runs is ignored. */
export function useAction(action) {
  const [state, setState] = useState({ busy: false, error: null });
  const running = useRef(false);
  const run = async (...values) => {
    if (running.current) return;
    running.current = true;
    setState({ busy: true, error: null });
    try {
      await action(...values);
      setState({ busy: false, error: null });
    } catch (error) {
      setState({ busy: false, error });
    } finally {
      running.current = false;
    }
  };
  return { run, ...state };
}
