// One event stream for the whole page. Browsers allow six connections per host over HTTP/1.1.
import { get } from "./api.js";
import { html, useEffect, useRef, useState } from "./view.js";

const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 30_000;

const listeners = new Set();
let source = null;
let timer = 0;
let pause = FIRST_PAUSE_MS;
let state = "connecting";

/** Open the stream. Repeating is safe. */
export function openStream() {
  if (source || timer) return;
  source = new EventSource("/api/events");
  source.onopen = () => {
    pause = FIRST_PAUSE_MS;
    setState("live");
    // The events have no numbers: what happened in between is read again.
    emit({ type: "refresh" });
  };
  source.onerror = () => {
    setState("reconnecting");
    if (source.readyState === EventSource.CLOSED) reopenLater(); // it does not try again by itself
  };
  for (const type of ["changed", "webhook"]) {
    source.addEventListener(type, (event) => emit({ type, ...JSON.parse(event.data) }));
  }
}

export function closeStream() {
  source?.close();
  clearTimeout(timer);
  [source, timer] = [null, 0];
  setState("connecting");
}

/**
 * Receive the events of the account: `{type: "changed", executionId, status, progress}`,
 * `{type: "webhook", executionId, …}`, and `{type: "refresh"}` after each connection.
 */
export function useEvents(listener) {
  const latest = useRef(listener);
  latest.current = listener;
  useEffect(() => {
    const each = (event) => latest.current(event);
    listeners.add(each);
    return () => listeners.delete(each);
  }, []);
}

/** Whether the page is live, as a sign with words. */
export function LiveSign() {
  const [shown, setShown] = useState(state);
  useEvents((event) => event.type === "state" && setShown(event.state));
  const words = shown === "live" ? "Live" : "Reconnecting";
  return html`<span class=${`live live-${shown}`} role="status">${words}</span>`;
}

function reopenLater() {
  source.close();
  source = null;
  timer = setTimeout(async () => {
    timer = 0;
    // An EventSource does not show why it was refused; a read finds a session that has ended.
    const answer = await get("/api/executions?limit=1").catch((error) => error);
    if (answer.code === "unauthenticated" || source || timer) return;
    openStream();
  }, pause * (0.5 + Math.random()));
  pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
}

function setState(next) {
  state = next;
  emit({ type: "state", state });
}

function emit(event) {
  for (const listener of [...listeners]) listener(event);
}
