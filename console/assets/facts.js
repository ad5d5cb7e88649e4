// What a file is, in words.
import { duration } from "../shared/time.js";

const UNITS = ["B", "KiB", "MiB", "GiB"];

export function sizeWords(bytes) {
  const place = Math.min(UNITS.length - 1, Math.max(0, Math.floor(Math.log2(Math.max(bytes, 1)) / 10)));
  const value = bytes / 1024 ** place;
  return `${value < 10 && place > 0 ? value.toFixed(1) : Math.round(value)} ${UNITS[place]}`;
}

/** Return the kind, size in pixels and length of a file, as far as they are known. */
export const factsOf = ({ kind, width, height, duration: seconds }) =>
  [kind, width && `${width} × ${height}`, seconds && duration(seconds)].filter(Boolean).join(", ");
