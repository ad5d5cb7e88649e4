// The screens and their addresses. A further screen is one folder and one entry here.

/**
 * path: the parts of the address; `:name` takes any value and becomes a property of the screen.
 * nav: the word in the navigation; none: reached from another screen. scope: needed to see it.
 * load: the module, whose default export is the component; it is fetched when it is first shown.
 */
export const SCREENS = [
  { path: ["executions"], nav: "Executions", load: () => import("./executions/screen.js") },
  { path: ["create"], nav: "Create", scope: "generate", load: () => import("./create/screen.js") },
  { path: ["plan"], nav: "Plan", scope: "generate", load: () => import("./plan/screen.js") },
  { path: ["assets"], nav: "Assets", load: () => import("./assets/screen.js") },
  { path: ["usage"], nav: "Usage", load: () => import("./usage/screen.js") },
  { path: ["webhooks"], nav: "Webhooks", load: () => import("./webhooks/screen.js") },
  { path: ["keys"], nav: "Keys", scope: "admin", load: () => import("./keys/screen.js") },
  { path: ["executions", ":id"], load: () => import("./execution/screen.js") },
];

export const HOME = "executions";
