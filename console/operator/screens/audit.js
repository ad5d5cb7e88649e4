// What operators changed, in the console and on the terminal.
import { Button, Loading, Page, Panel, Problem } from "../../shared/parts.js";
import { html } from "../../shared/view.js";
import { useCommand } from "../commands.js";
import { Filters } from "../filters.js";
import { Table } from "../report.js";

const FILTERS = [{ name: "target", label: "Job, user, key or scope" }];

export default function AuditScreen({ query }) {
  const { data, error, reload } = useCommand("audit list", query);
  return html`<${Page} title="Audit" aside=${html`<${Button} onClick=${reload}>Read again<//>`}>
    <${Filters} path="audit" filters=${FILTERS} query=${query} />
    <${Panel} id="audit" title="Changes, the latest first">
      <${Problem} error=${error} again=${reload} />
      ${!data && !error && html`<${Loading} what="the audit log" />`}
      ${data && html`<${Table} rows=${data} columns=${["at", "actor", "action", "target", "detail"]} label="Changes" empty="No operator has changed anything." />`}
    <//>
  <//>`;
}
