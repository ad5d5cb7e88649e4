// From the values of the form to the body of the order.
import { KINDS, inputOf } from "./kinds.js";

export const EMPTY = { kind: "video", text: "", model: "", imageModel: "", textToVideo: false, inputs: {}, maxCost: null, webhook: "" };

/** Return the models of a kind; the default is the first. */
export const modelsOfKind = (models, kind) => models.filter((model) => model.kind === kind);

/** Return the chosen model, or the default of the kind. */
export function chosenModel(models, kind, id) {
  const offered = modelsOfKind(models, kind);
  return offered.find((model) => model.id === id) ?? offered[0] ?? null;
}

/** Whether a first picture is bought: a video without an own picture, unless the text suffices. */
export const buysPicture = (values) => values.kind === "video" && !values.textToVideo && !values.inputs.image;

/** Return the input that a field fills, or null: of the model, or of the first picture's model. */
export function inputFor(values, models, name) {
  const input = inputOf(chosenModel(models, values.kind, values.model), name);
  if (input || name !== "aspectRatio" || !buysPicture(values)) return input;
  return inputOf(chosenModel(models, "image", values.imageModel), name);
}

/** Return a value that the input takes, or undefined: another model may have offered it. */
export function usable(value, input) {
  if (!input || value === undefined || value === "") return undefined;
  const { choices } = input;
  return choices.length === 0 || choices.some((choice) => String(choice) === String(value)) ? value : undefined;
}

/** Return the body without `maxCost`, or null while something required is missing. */
export function bodyOf(values, models) {
  const kind = KINDS[values.kind];
  const model = chosenModel(models, values.kind, values.model);
  if (!model) return null;
  const body = {};
  if (kind.text) {
    if (!values.text.trim()) return null;
    body[kind.text.name] = values.text;
  }
  if (values.model) body[kind.model] = values.model;
  if (buysPicture(values) && values.imageModel) body.imageModel = values.imageModel;
  if (values.kind === "video" && values.textToVideo) body.textToVideo = true;
  for (const name of kind.inputs) {
    const value = values.inputs[name];
    const input = inputFor(values, models, name);
    const taken = usable(value, input);
    if (taken !== undefined) body[name] = valueOf(taken, input);
    else if (input?.required) return null;
  }
  if (values.webhook.trim()) body.webhook = values.webhook.trim();
  return body;
}

function valueOf(value, input) {
  if (typeof value === "object") return { asset: value.id };
  return input && ["integer", "number"].includes(input.type) ? Number(value) : value;
}
