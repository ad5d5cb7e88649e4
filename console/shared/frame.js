// The frame of every screen: navigation, what stands next to it, and the screen of the address.
import { useEvents } from "./events.js";
import { Loading, Problem } from "./parts.js";
import { findScreen, href, useRoute } from "./router.js";
import { html, useEffect, useErrorBoundary, useRef, useState } from "./view.js";

/**
 * brand: the name of the console. screens: all of them, see `findScreen`. tabs: those in the
 * navigation. home: the address of the first. session: a property of every screen.
 */
export function Frame({ brand, screens, tabs, home, session, children }) {
  const { parts, query } = useRoute();
  const address = parts.length > 0 ? parts : [home];
  const found = findScreen(screens, address);
  const main = useRef(null);
  const tabList = useRef(null);
  const isFirst = useRef(true);
  const key = address.join("/");
  useEffect(() => {
    if (!isFirst.current) main.current.focus();
    isFirst.current = false;
    showCurrent(tabList.current);
    scrollTo(0, 0);
  }, [key]);
  const skip = (event) => {
    event.preventDefault();
    main.current.focus();
  };
  return html`
    <a class="skip" href="#main" onClick=${skip}>Skip to content</a>
    <header class="top">
      <a class="brand" href=${href(home)}><span class="brand-mark" aria-hidden="true"></span>${brand}</a>
      <nav aria-label="Screens" ref=${tabList}>${tabs.map(({ path, nav }) => html`<a href=${href(path.join("/"))}
        aria-current=${path[0] === address[0] ? "page" : undefined}>${nav}</a>`)}</nav>
      <div class="account">${children}</div>
    </header>
    <main ref=${main} tabindex="-1">
      ${found
        ? html`<${Screen} key=${key} load=${found.screen.load} values=${found.values} query=${query}
            session=${session} />`
        : html`<div class="page"><h1>Not found</h1><p>No screen has this address.</p></div>`}
    </main>`;
}

/** Bring the current tab in sight on a phone. scrollIntoView would also move where Tab continues. */
function showCurrent(tabList) {
  const tab = tabList.querySelector("[aria-current]");
  if (tab) tabList.scrollLeft += tab.getBoundingClientRect().left - tabList.getBoundingClientRect().left;
}

/** A screen, fetched when it is first shown. It gets `session`, `query` and the values of its path. */
function Screen({ load, values, query, session }) {
  const [Component, setComponent] = useState(null);
  const [failed, setFailed] = useState(null);
  const [broken] = useErrorBoundary((error) => console.error(error));
  useEffect(() => {
    const failure = new Error("The page could not be loaded. Check the connection, then try again.");
    load().then((module) => setComponent(() => module.default), () => setFailed(failure));
  }, []);
  // Nothing has been entered yet, so the page may be loaded again when the service is back.
  useEvents((event) => failed && event.type === "refresh" && location.reload());
  const error = broken ?? failed;
  if (error) {
    return html`<div class="page"><${Problem} error=${error} again=${() => location.reload()} /></div>`;
  }
  if (!Component) return html`<div class="page"><${Loading} what="the page" /></div>`;
  return html`<${Component} ...${values} query=${query} session=${session} />`;
}
