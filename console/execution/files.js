// Every stored file, with its size and hash.
import { downloadAddress } from "../shared/execution.js";
import { Copy, Panel } from "../shared/parts.js";
import { duration } from "../shared/time.js";
import { html } from "../shared/view.js";

const UNITS = ["B", "kB", "MB", "GB"];

export function Files({ result }) {
  if (result.assets.length === 0) return null;
  return html`<${Panel} id="files" title="Files">
    <div class="scroll"><table class="fold">
      <thead><tr><th>Step</th><th>Kind</th><th>Facts</th><th class="number">Size</th><th>SHA-256</th><th><span class="hidden">Download</span></th></tr></thead>
      <tbody>${result.assets.map((file) => html`<tr key=${file.id}>
        <th scope="row">${file.step}</th><td>${file.kind}</td><td>${facts(file)}</td>
        <td class="number">${size(file.sizeBytes)}</td>
        <td><${Copy} text=${file.sha256} label=${`${file.sha256.slice(0, 8)}…`} /></td>
        <td><a href=${downloadAddress(file.id)} download aria-label=${`Download the ${file.kind} of ${file.step}`}>Download</a></td>
      </tr>`)}</tbody>
    </table></div>
  <//>`;
}

function facts({ media }) {
  if (!media) return "";
  const picture = media.width ? `${media.width} × ${media.height}` : "";
  const length = media.durationSeconds ? duration(media.durationSeconds) : "";
  return [picture, length].filter(Boolean).join(", ");
}

/** Return a size in decimal units: "1.2 MB". */
export function size(bytes) {
  let [value, unit] = [bytes, 0];
  while (value >= 1000 && unit < UNITS.length - 1) [value, unit] = [value / 1000, unit + 1];
  return `${value < 10 && unit ? value.toFixed(1) : Math.round(value)} ${UNITS[unit]}`;
}
