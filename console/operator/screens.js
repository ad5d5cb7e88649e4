// The operator's screens and their addresses, in the form of the web console's.
export const SCREENS = [
  { path: ["overview"], nav: "Overview", load: () => import("./screens/overview.js") },
  { path: ["providers"], nav: "Providers", load: () => import("./screens/providers.js") },
  { path: ["queues"], nav: "Queues", load: () => import("./screens/queues.js") },
  { path: ["jobs"], nav: "Stuck work", load: () => import("./screens/jobs.js") },
  { path: ["executions"], nav: "Executions", load: () => import("./screens/executions.js") },
  { path: ["webhooks"], nav: "Webhooks", load: () => import("./screens/webhooks.js") },
  { path: ["audit"], nav: "Audit", load: () => import("./screens/audit.js") },
];

export const HOME = "overview";
