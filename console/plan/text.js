// From the text of a plan to its steps, with the errors of the service at the step they belong to.

/** Return `{ plan }`, or `{ error }` with a sentence if the text is no JSON object. */
export function parsePlan(text) {
  try {
    const plan = JSON.parse(text);
    if (plan && typeof plan === "object" && !Array.isArray(plan)) return { plan };
    return { error: "A plan is a JSON object: { \"version\": 1, \"steps\": [ … ] }." };
  } catch (error) {
    return { error: `The text is not JSON: ${error.message}` };
  }
}

/** Return the names of the steps that a value uses. */
export function usedSteps(value) {
  if (Array.isArray(value)) return value.flatMap(usedSteps);
  if (!value || typeof value !== "object") return [];
  if (typeof value.step === "string") return [value.step];
  return Object.values(value).flatMap(usedSteps);
}

const OF_STEP = /^\/plan\/steps\/(\d+)/;

/** Split the errors of a refused plan: `{ steps: Map of place to errors, rest }`. */
export function errorsBySteps(error) {
  const steps = new Map();
  const rest = [];
  for (const each of error?.problem?.errors ?? []) {
    const place = OF_STEP.exec(each.pointer ?? "")?.[1];
    if (place === undefined) rest.push(each);
    else steps.set(Number(place), [...(steps.get(Number(place)) ?? []), each]);
  }
  return { steps, rest };
}
