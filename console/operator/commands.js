// Commands of `takeone-admin` over HTTP. The paths of the operator's console are written here only.
import { post, withQuery } from "../shared/api.js";
import { useResource } from "../shared/resource.js";
import { useEffect } from "../shared/view.js";

const pathOf = (name) => `/commands/${name.replaceAll(" ", "/")}`;

/** Read a command that changes nothing. Returns `{ data, error, reload }`; null: nothing. */
export function useCommand(name, values = {}) {
  const { data, error, reload } = useResource(name && withQuery(pathOf(name), values));
  return { data: data?.result ?? null, error, reload };
}

/** Call `reload` every `milliseconds` while the page is visible. */
export function useRepeated(reload, milliseconds) {
  useEffect(() => {
    const timer = setInterval(() => !document.hidden && reload(), milliseconds);
    return () => clearInterval(timer);
  }, [reload, milliseconds]);
}

/** Return `{ command, result, confirmation }` of a dry run. */
export const dryRun = (name, values) => post(pathOf(name), { values });

/** Run a check, which changes nothing but the time of the last one. Returns its result. */
export const check = async (name) => (await post(pathOf(name), { values: {} })).result;

/** Run what a dry run has shown. Returns `{ command, code, result }`. */
export const confirm = (confirmation) => post(`/confirmations/${confirmation}`);
