// An execution's id, with its workflow in the Temporal Web UI where that is configured.
import { Copy } from "../shared/parts.js";
import { html } from "../shared/view.js";

export const Workflow = ({ id, session }) => html`<${Copy} text=${id} label=${`${id.slice(0, 14)}…`} />
  ${session.workflowsUrl && html` <a href=${session.workflowsUrl + id} target="_blank" rel="noreferrer" aria-label=${`Workflow of ${id}`}>workflow</a>`}`;
