// Fields of the form, made from the inputs of the chosen model.
import { request } from "../shared/api.js";
import { Problem } from "../shared/parts.js";
import { useAction } from "../shared/resource.js";
import { html, useEffect, useState } from "../shared/view.js";
import { LABELS, MEDIA } from "./kinds.js";
import { usable } from "./order.js";

export function Field({ id, label, help, children }) {
  return html`<div class="field">
    <label for=${id}>${label}</label>${children}
    ${help && html`<p class="quiet" id=${`${id}-help`}>${help}</p>`}
  </div>`;
}

/** One input of the model; without `input` it is disabled, with the reason. */
export function ModelField({ name, input, model, value, onChange }) {
  const label = LABELS[name];
  const type = input?.type ?? "none";
  if (MEDIA.has(type)) {
    return html`<${UploadField} name=${name} label=${label} type=${type} required=${input.required} value=${value} onChange=${onChange} />`;
  }
  if (!input) {
    return html`<${Field} id=${name} label=${label}>
      <input id=${name} disabled value="Not with this model" title=${`${model.id} does not take this.`} />
    <//>`;
  }
  const update = (event) => onChange(event.target.value);
  if (input.choices.length > 0) {
    return html`<${Field} id=${name} label=${label}>
      <select id=${name} value=${usable(value, input) ?? ""} onChange=${update}>
        <option value="">${input.default === null ? "Not set" : `Default (${input.default})`}</option>
        ${input.choices.map((choice) => html`<option value=${choice}>${choice}</option>`)}
      </select>
    <//>`;
  }
  const isNumber = ["integer", "number"].includes(type);
  const bounds = isNumber && input.minimum !== null && input.maximum !== null;
  return html`<${Field} id=${name} label=${label} help=${bounds ? `${input.minimum} to ${input.maximum}` : ""}>
    <input id=${name} value=${value ?? ""} onInput=${update} type=${isNumber ? "number" : "text"}
      step=${type === "integer" ? 1 : "any"} min=${input.minimum} max=${input.maximum}
      maxlength=${input.maxLength} placeholder=${input.default ?? ""} />
  <//>`;
}

const ACCEPT = { image: "image/*", audio: "audio/*,video/*", video: "video/*" };

/** A file that is uploaded as soon as it is chosen. value: `{ id, name }` of the asset. */
function UploadField({ name, label, type, required, value, onChange }) {
  const [preview, setPreview] = useState(null);
  useEffect(() => () => preview && URL.revokeObjectURL(preview), [preview]);
  const { run, busy, error } = useAction(async (file) => {
    const form = new FormData();
    form.append("file", file);
    const asset = await request("POST", "/api/assets", { body: form });
    setPreview(type === "image" ? URL.createObjectURL(file) : null);
    onChange({ id: asset.id, name: file.name });
  });
  const clear = () => {
    setPreview(null);
    onChange(undefined);
  };
  const choose = (event) => {
    const file = event.target.files[0];
    event.target.value = "";
    if (file) run(file);
  };
  return html`<${Field} id=${name} label=${required ? label : `${label} (optional)`}>
    ${value
      ? html`<div class="chosen">
          ${preview && html`<img src=${preview} alt="" />`}
          <span class="wrap">${value.name}</span>
          <button type="button" class="button button-quiet" onClick=${clear}>Remove</button>
        </div>`
      : html`<input id=${name} type="file" accept=${ACCEPT[type]} disabled=${busy} onChange=${choose} />`}
    ${busy && html`<p class="quiet" role="status">Uploading …</p>`}
    <${Problem} error=${error} />
  <//>`;
}
