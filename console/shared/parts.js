// Small components that every screen uses.
import { dollars } from "./money.js";
import { classes, html, useEffect, useRef, useState } from "./view.js";

export const Money = ({ usd, title }) =>
  html`<span class="money" title=${title}>${dollars(usd)}</span>`;

/** A screen: its heading, what stands next to it, and its content. */
export function Page({ title, aside, children }) {
  useEffect(() => {
    document.title = `${title} · Takeone`;
  }, [title]);
  return html`<div class="page">
    <header class="page-head"><h1>${title}</h1>${aside}</header>
    ${children}
  </div>`;
}

export const Panel = ({ title, aside, children, id }) =>
  html`<section class="panel" aria-labelledby=${id}>
    <header class="panel-head"><h2 id=${id}>${title}</h2>${aside}</header>
    ${children}
  </section>`;

/** What went wrong, and what to do. `again` adds a button that repeats the action. */
export function Problem({ error, again }) {
  if (!error) return null;
  const fields = error.problem?.errors ?? [];
  return html`<div class="notice notice-bad" role="alert">
    <p><strong>${error.problem?.title ?? "Error"}</strong> ${error.message}</p>
    ${fields.length > 0 && html`<ul>${fields.map((each) => html`<li><code>${each.field}</code> ${each.detail}</li>`)}</ul>`}
    ${error.problem?.requestId && html`<p class="quiet">Request ${error.problem.requestId}</p>`}
    ${again && html`<button type="button" onClick=${again}>Try again</button>`}
  </div>`;
}

export const Notice = ({ kind = "plain", children }) =>
  html`<div class=${`notice notice-${kind}`} role="status">${children}</div>`;

/** Shown while nothing has arrived yet; it appears after a moment, so quick answers do not flicker. */
export const Loading = ({ what }) => html`<p class="loading" role="status">Loading ${what} …</p>`;

export const Empty = ({ children }) => html`<div class="empty">${children}</div>`;

/** A button. `busy`: its action runs. kind: "primary", "danger" or plain. */
export const Button = ({ kind, busy, disabled, children, type = "button", ...rest }) =>
  html`<button type=${type} class=${classes("button", kind && `button-${kind}`)}
    disabled=${disabled} aria-disabled=${busy || undefined} aria-busy=${busy || undefined}
    ...${rest}>${children}</button>`;

/** A modal dialog that opens when it is rendered. Escape and the backdrop call `onClose`. */
export function Dialog({ title, onClose, children }) {
  const ref = useRef(null);
  useEffect(() => {
    const before = document.activeElement;
    ref.current.showModal();
    return () => before?.focus?.();
  }, []);
  const onClick = (event) => event.target === ref.current && onClose();
  return html`<dialog ref=${ref} aria-labelledby="dialog-title" onClose=${onClose} onClick=${onClick}>
    <div class="dialog-body"><h2 id="dialog-title">${title}</h2>${children}</div>
  </dialog>`;
}

/** A list of names and values. */
export const Facts = ({ items }) =>
  html`<dl class="facts">${items
    .filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== false)
    .map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;

/** Text to copy, such as an id. */
export function Copy({ text, label = text }) {
  const [isCopied, copy] = useCopy(text);
  return html`<button type="button" class="copy" title=${isCopied ? "Copied" : "Copy"} aria-label=${`Copy ${text}`}
    onClick=${copy}><code>${label}</code>${isCopied && html`<span class="quiet" role="status"> copied</span>`}</button>`;
}

/** A button that copies a longer text. what: its name. */
export function CopyText({ text, what }) {
  const [isCopied, copy] = useCopy(text);
  return html`<button type="button" class="button" aria-label=${`Copy the ${what}`} onClick=${copy}>${isCopied ? "Copied" : "Copy"}</button>`;
}

const COPIED_MS = 2000;

function useCopy(text) {
  const [copied, setCopied] = useState(null);
  useEffect(() => {
    const timer = setTimeout(() => setCopied(null), COPIED_MS);
    return () => clearTimeout(timer);
  }, [copied]);
  return [copied === text, () => navigator.clipboard?.writeText(text).then(() => setCopied(text), () => {})];
}
