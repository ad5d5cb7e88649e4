/** Steps that make a film. Nothing is sent until `execute` or `quote`. */
export class Composition {
    /**
     * @param {readonly (Step | {outputs: Record<string, File>})[]} members
     * @param {() => Takeone} client
     */
    constructor(members: readonly (Step | {
        outputs: Record<string, File>;
    })[], client: () => Takeone);
    /** Return the plan as JSON: the `plan` of `POST /api/executions`. */
    toPlan(): Plan;
    /**
     * Execute the plan, and return at once. values: of its variables.
     *
     * @param {OrderOptions & Values & KeyedOptions} [options]
     */
    execute(options?: OrderOptions & Values & KeyedOptions): Promise<import("./shapes.js").Accepted>;
    /**
     * Return what the plan may cost. Nothing is started or held.
     *
     * @param {OrderOptions & Values & CallOptions} [options]
     */
    quote(options?: OrderOptions & Values & CallOptions): Promise<{
        currency?: "USD";
        etaSeconds: number;
        expected: string;
        jobs: import("../types/schema.js").components["schemas"]["QuotedJob"][];
        low: string;
        warnings?: import("../types/schema.js").components["schemas"]["QuoteWarning"][];
        worst: string;
    }>;
    #private;
}
import type { Plan } from "./shapes.js";
import type { OrderOptions } from "./shapes.js";
import type { Values } from "./executions.js";
import type { KeyedOptions } from "./shapes.js";
import type { CallOptions } from "./shapes.js";
import { Step } from "./steps.js";
import type { File } from "./steps.js";
import type { Takeone } from "./client.js";
