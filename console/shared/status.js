// States in words, with a colour and a shape of their own.
import { classes, html, useEffect, useRef, useState } from "./view.js";

const WORDS = {
  queued: "Queued",
  running: "Running",
  completed: "Completed",
  failed: "Failed",
  cancelled: "Cancelled",
  waiting: "Waiting",
  submitting: "Sending",
  unknown: "Looking up",
  submitted: "Rendering",
  approval: "Needs you",
  delivered: "Delivered",
  pending: "Pending",
};

const SHAPES = {
  queued: html`<circle cx="8" cy="8" r="5.500" />`,
  running: html`<circle cx="8" cy="8" r="5.500" /><path class="solid" d="M8 2.500a5.500 5.500 0 0 1 0 11z" />`,
  completed: html`<circle class="solid" cx="8" cy="8" r="6.500" /><path class="cut" d="M5 8.200l2.100 2.100L11 6.300" />`,
  failed: html`<path class="solid" d="M8 .8L15.200 8 8 15.200.8 8z" /><path class="cut" d="M8 4.800v3.600M8 10.700v.1" />`,
  cancelled: html`<circle cx="8" cy="8" r="5.500" /><path d="M5.200 8h5.600" />`,
  approval: html`<path class="solid" d="M8 1.200l7 13H1z" /><path class="cut" d="M8 6v4M8 12v.1" />`,
};
const ALIKE = {
  waiting: "queued", submitting: "running", submitted: "running", unknown: "approval",
  delivered: "completed", pending: "queued",
};

/** The state of an execution, a job or a webhook. words: instead of the usual ones. */
export function Status({ state, words }) {
  const shape = SHAPES[state] ? state : ALIKE[state] ?? "queued";
  return html`<span class=${`status status-${shape}`}>
    <svg viewBox="0 0 16 16" aria-hidden="true">${SHAPES[shape]}</svg>${words ?? WORDS[state] ?? state}
  </span>`;
}

export const isOpen = (execution) => ["queued", "running"].includes(execution.status);

export const isRetryable = (execution) => ["failed", "cancelled"].includes(execution.status);

/** Return what to show of an execution: its status, or that it waits for a decision. */
export const shownState = (execution) =>
  isOpen(execution) && execution.waitingFor.length > 0 ? "approval" : execution.status;

/**
 * The progress of an open execution. Between two answers of the service it moves towards the end
 * that the service has estimated, and never past it.
 */
export function Progress({ execution, readAt, label = "Progress" }) {
  const bar = useRef(null);
  const [shown, setShown] = useState(execution.progress);
  useEffect(() => {
    const update = () => setShown(progressAt(execution, (Date.now() - readAt) / 1000));
    update();
    const timer = setInterval(update, 500);
    return () => clearInterval(timer);
  }, [execution, readAt]);
  const tens = Math.floor(shown / 10) * 10;
  return html`<div class=${classes("progress", execution.status)}>
    <progress ref=${bar} max="100" value=${shown} aria-label=${label}>${shown} %</progress>
    <span class="progress-text" aria-hidden="true">${shown} %</span>
    <span class="hidden" aria-live="polite">${tens > 0 ? `${label} ${tens} %` : ""}</span>
  </div>`;
}

/** Return the progress `seconds` after an answer. */
export function progressAt(execution, seconds) {
  const { progress, eta } = execution;
  if (!eta || eta.seconds <= 0) return progress;
  const part = Math.min(seconds / eta.seconds, 1);
  return Math.max(progress, Math.min(99, Math.floor(progress + (99 - progress) * part)));
}
