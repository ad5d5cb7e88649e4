// The operator's screens and their addresses, in the form of the web console's.
export const SCREENS = [
  { path: ["overview"], nav: "Overview", load: () => import("./screens/overview.js") },
];

export const HOME = "overview";
