// The one place that names the view library: `html` templates, components and hooks.
import htm from "../vendor/htm.js";
import { h } from "../vendor/preact.js";

export { render } from "../vendor/preact.js";
export * from "../vendor/hooks.js";
export const html = htm.bind(h);

/** Join the class names that are not empty. */
export const classes = (...names) => names.filter(Boolean).join(" ");
