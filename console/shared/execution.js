// What every screen shows of an execution and its files.
import { sum } from "./money.js";

const TYPES = {
  "generate-video": "Video",
  "generate-image": "Image",
  "generate-audio": "Speech",
  transcribe: "Transcript",
  plan: "Plan",
};

export const TYPE_NAMES = TYPES;

/** Return a title: a name in the metadata, the prompt, or the kind of the order. */
export function titleOf(execution) {
  const { prompt, metadata } = execution;
  return String(metadata.title || metadata.name || prompt || TYPES[execution.type] || execution.type);
}

/** Return the distinct models of the steps, without their owners' names. */
export function modelsOf(execution) {
  const names = execution.jobs.filter(({ provider }) => provider !== "media").map(({ model }) => model);
  return [...new Set(names)].map((name) => name.split("/").slice(1).join("/") || name);
}

/** Return the end of an id, which tells it apart from its neighbours. */
export const shortId = (id) => `…${id.slice(-8)}`;

/**
 * Return the address of a file for this page. Files behind the API are read from this page's own
 * origin, whose cookie opens them.
 */
export function fileAddress(url) {
  const { pathname, search } = new URL(url, location.href);
  return pathname.startsWith("/api/assets/") ? pathname + search : url;
}

/** Return the address that saves a file under a name of the service. */
export const downloadAddress = (assetId) => `/api/assets/${assetId}/content?download=`;

/** Return the address of a picture of the execution, or null. */
export function pictureOf(execution) {
  const result = execution.result;
  const url = result?.posterUrl ?? result?.imageUrl ?? null;
  return url && fileAddress(url);
}

export const pathOf = (id) => `/api/executions/${encodeURIComponent(id)}`;

/** Return what a retry keeps and what it buys again, at the most. */
export function retryCosts(execution) {
  const latest = new Map();
  for (const job of execution.jobs) if (!job.orphan) latest.set(job.step, job);
  const jobs = [...latest.values()];
  const kept = jobs.filter(({ state }) => state === "completed");
  const toPay = jobs.filter(({ state }) => state !== "completed");
  return {
    kept,
    toPay,
    keptCost: sum(kept.map(({ cost }) => cost.settled)),
    most: sum(toPay.map(({ cost }) => cost.estimated)),
  };
}
