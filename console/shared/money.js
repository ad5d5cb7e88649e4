// Money is exact: decimal texts of US dollars become BigInt counts of nano-dollars, never floats.

const DIGITS = 9;
const UNIT = 10n ** BigInt(DIGITS);

/** Return the nano-dollars of a decimal text such as "0.303" or "-0.1". */
export function toNano(text) {
  const [, sign, whole, fraction = ""] = /^(-?)(\d+)(?:\.(\d{1,9}))?$/.exec(text) ?? [];
  if (whole === undefined) throw new RangeError(`not an amount: ${text}`);
  const nano = BigInt(whole) * UNIT + BigInt(fraction.padEnd(DIGITS, "0"));
  return sign ? -nano : nano;
}

/** Return the decimal text of nano-dollars, without trailing zeros, as the API writes it. */
export function fromNano(nano) {
  const size = nano < 0n ? -nano : nano;
  const fraction = (size % UNIT).toString().padStart(DIGITS, "0").replace(/0+$/, "");
  return `${nano < 0n ? "-" : ""}${size / UNIT}${fraction ? `.${fraction}` : ""}`;
}

/** Return the exact sum of decimal texts as a decimal text. */
export const sum = (texts) => fromNano(texts.reduce((total, text) => total + toNano(text), 0n));

/** Return a decimal text minus others. */
export const minus = (text, ...others) =>
  fromNano(others.reduce((rest, each) => rest - toNano(each), toNano(text)));

/** Return -1, 0 or 1. */
export function compare(one, other) {
  const difference = toNano(one) - toNano(other);
  return difference < 0n ? -1 : difference > 0n ? 1 : 0;
}

/** Return an amount for people, exact, with at least two decimals: "$0.30", "$0.0025". */
export function dollars(text) {
  const exact = fromNano(toNano(text));
  const [whole, fraction = ""] = exact.replace("-", "").split(".");
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  return `${exact.startsWith("-") ? "−" : ""}$${grouped}.${fraction.padEnd(2, "0")}`;
}
