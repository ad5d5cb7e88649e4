// Filters of a list, which are part of the address.
import { Button } from "../shared/parts.js";
import { replaceQuery } from "../shared/router.js";
import { html } from "../shared/view.js";

/**
 * The form. Its values are the browser's own: a list that is read again meanwhile changes none.
 *
 * filters: `{ name, label, placeholder, choices, inputmode }`. query: their values.
 */
export function Filters({ path, filters, query }) {
  const submit = (event) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    replaceQuery(path, Object.fromEntries([...form].map(([name, value]) => [name, value.trim()])));
  };
  return html`<form class="panel" onSubmit=${submit} key=${JSON.stringify(query)}>
    <div class="fields">${filters.map(({ name, label, choices, isRequired, ...rest }) => html`<div class="field" key=${name}>
      <label for=${`filter-${name}`}>${label}</label>
      ${choices
        ? html`<select id=${`filter-${name}`} name=${name}>
            ${(isRequired ? choices : ["", ...choices]).map((each) => html`<option value=${each} selected=${each === (query[name] ?? "")}>${each || "any"}</option>`)}</select>`
        : html`<input id=${`filter-${name}`} name=${name} defaultValue=${query[name] ?? ""} autocomplete="off" ...${rest} />`}
    </div>`)}</div>
    <div class="actions"><${Button} type="submit">Filter<//></div>
  </form>`;
}
