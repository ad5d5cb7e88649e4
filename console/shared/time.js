// Times are shown in the browser's zone, and in full in the tooltip.
import { html, useEffect, useState } from "./view.js";

const FULL = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
const SHORT = new Intl.DateTimeFormat(undefined, {
  month: "short", day: "numeric", hour: "2-digit", minute: "2-digit",
});
const CLOCK = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit", minute: "2-digit", second: "2-digit",
});
const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "short" });
const STEPS = [["day", 86_400], ["hour", 3600], ["minute", 60]];

/** Return a duration in words: "8 s", "1 min 20 s", "2 h 5 min". */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const [hours, minutes, rest] = [whole / 3600, (whole / 60) % 60, whole % 60].map(Math.floor);
  if (hours) return `${hours} h${minutes ? ` ${minutes} min` : ""}`;
  return `${minutes} min${rest ? ` ${rest} s` : ""}`;
}

/** Return how long ago a time is: "now", "3 min. ago", "yesterday". */
export function age(text, now = Date.now()) {
  const seconds = (now - Date.parse(text)) / 1000;
  const [unit, size] = STEPS.find(([, each]) => seconds >= each) ?? ["second", 1];
  return unit === "second" ? "just now" : RELATIVE.format(-Math.floor(seconds / size), unit);
}

export const secondsBetween = (from, to) => (Date.parse(to) - Date.parse(from)) / 1000;

/** A time in words. form: "age" (default), "short" for date and time, "clock" for the time of day. */
export function Time({ at, form = "age" }) {
  useClock(form === "age" ? 30_000 : 0);
  const date = new Date(at);
  const text = form === "age" ? age(at) : (form === "clock" ? CLOCK : SHORT).format(date);
  return html`<time datetime=${at} title=${FULL.format(date)}>${text}</time>`;
}

/** Render the calling component again every `milliseconds`; 0: never. Returns the time then. */
export function useClock(milliseconds) {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    if (!milliseconds) return undefined;
    const timer = setInterval(() => setNow(Date.now()), milliseconds);
    return () => clearInterval(timer);
  }, [milliseconds]);
  return milliseconds ? now : Date.now();
}
