// Addresses are in the fragment, `#/executions?status=failed`, so any static host can serve them.
import { useEffect, useState } from "./view.js";

/** Return the parts of the address: `{ parts: ["executions"], query: { status: "failed" } }`. */
export function readRoute(hash = location.hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?");
  const parts = path.split("/").filter(Boolean).map(decodeURIComponent);
  return { parts, query: Object.fromEntries(new URLSearchParams(query)) };
}

/** Return the address of a screen. Parameters that are empty are left out. */
export function href(path, query = {}) {
  const kept = Object.entries(query).filter(([, value]) => value);
  const text = new URLSearchParams(kept).toString();
  return `#/${path}${text ? `?${text}` : ""}`;
}

export function navigate(path, query) {
  location.hash = href(path, query);
}

/** Change the parameters of this screen without a new entry in the history. */
export function replaceQuery(path, query) {
  history.replaceState(null, "", href(path, query));
  dispatchEvent(new HashChangeEvent("hashchange"));
}

export function useRoute() {
  const [route, setRoute] = useState(readRoute);
  useEffect(() => {
    const update = () => setRoute(readRoute());
    addEventListener("hashchange", update);
    return () => removeEventListener("hashchange", update);
  }, []);
  return route;
}

/**
 * Return `{ screen, values }` for the parts of an address, or null. screens: each has a `path`; its
 * part `:name` takes any value, which becomes a property of the screen.
 */
export function findScreen(screens, parts) {
  for (const screen of screens) {
    const values = matchPath(screen.path, parts);
    if (values) return { screen, values };
  }
  return null;
}

function matchPath(path, parts) {
  if (path.length !== parts.length) return null;
  const values = {};
  for (const [place, name] of path.entries()) {
    if (name.startsWith(":")) values[name.slice(1)] = parts[place];
    else if (name !== parts[place]) return null;
  }
  return values;
}
