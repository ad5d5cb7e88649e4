// The order as code: curl, Python and TypeScript. Each program runs as it is shown.
import { CopyText, Panel } from "../shared/parts.js";
import { html, useState } from "../shared/view.js";

const LANGUAGES = { curl: curlOf, Python: pythonOf, TypeScript: typescriptOf };

/**
 * path: of the order. method: of the TypeScript client. order: the body, or null while it is
 * incomplete; with a plan for the method `create`.
 */
export function Code({ path, method, order }) {
  const [language, setLanguage] = useState("curl");
  if (!order) return null;
  const text = LANGUAGES[language]({ path, method, order });
  return html`<${Panel} id="code" title="The same order as code" aside=${html`<${CopyText} text=${text} what="code" />`}>
    <div class="choices" role="group" aria-label="Language">${Object.keys(LANGUAGES).map((name) => html`
      <button type="button" aria-pressed=${name === language} onClick=${() => setLanguage(name)}>${name}</button>`)}</div>
    <pre class="code" tabindex="0" aria-labelledby="code">${text}</pre>
    <p class="quiet">Set <code>TAKEONE_BASE_URL</code> to <code>${location.origin}</code>, and <code>TAKEONE_API_KEY</code> to one of your keys.</p>
  <//>`;
}

/** Quote a text for a POSIX shell. */
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function curlOf({ path, order }) {
  return [
    "# A new key for each order. The same key again buys nothing twice.",
    "KEY=order-$(date +%s)",
    `curl "$TAKEONE_BASE_URL${path}" \\`,
    '  -H "Authorization: Bearer $TAKEONE_API_KEY" \\',
    '  -H "Idempotency-Key: $KEY" \\',
    '  -H "Content-Type: application/json" \\',
    `  -d ${quoted(JSON.stringify(order, null, 2))}`,
  ].join("\n");
}

const snake = (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

function pythonOf({ method, order }) {
  const lines = Object.entries(order).map(([name, value]) => `    ${snake(name)}=${pythonValue(value, "    ")},`);
  return [
    "from takeone import Takeone",
    "",
    "client = Takeone()",
    `order = client.executions.${snake(method)}(`,
    ...lines,
    ")",
    "done = order.wait(timeout=600)",
    "print(done.result.url, done.cost.settled)",
  ].join("\n");
}

/** Return a literal of Python, objects with a line for each member. JSON texts are texts of Python, too. */
function pythonValue(value, indent) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const inner = `${indent}    `;
  const isList = Array.isArray(value);
  const members = isList
    ? value.map((each) => `${inner}${pythonValue(each, inner)},`)
    : Object.entries(value).map(([name, each]) => `${inner}${JSON.stringify(name)}: ${pythonValue(each, inner)},`);
  const [open, close] = isList ? "[]" : "{}";
  return members.length === 0 ? open + close : [open, ...members, `${indent}${close}`].join("\n");
}

function typescriptOf({ method, order }) {
  const { plan, ...options } = order;
  const lines = Object.entries(options).map(([name, value]) => `  ${name}: ${JSON.stringify(value)},`);
  const first = plan ? `${JSON.stringify(plan, null, 2)}, ` : "";
  return [
    `import { Takeone } from ${JSON.stringify("takeone")};`,
    "",
    "const client = new Takeone();",
    `const order = await client.executions.${method}(${first}{`,
    ...lines,
    "});",
    "const done = await order.wait({ timeoutSeconds: 600 });",
    "console.log(done.result?.url, done.cost.settled);",
  ].join("\n");
}
