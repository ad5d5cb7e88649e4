/** Values of request bodies: files as references. */

/** Parameters that take a file, where a text is an address. */
export const MEDIA_NAMES = new Set(["image", "endImage", "audio", "source", "video"]);

/**
 * Return whether a value is an asset or a file of a result.
 *
 * @param {unknown} value
 * @returns {value is {id: string, sha256: string}}
 */
export function isStored(value) {
  return value !== null && typeof value === "object" && "sha256" in value && "id" in value;
}

/**
 * Return a reference to a file. An object that is not a stored file is one already.
 *
 * @param {unknown} value
 */
export function media(value) {
  if (typeof value === "string") return { url: value };
  return isStored(value) ? { asset: value.id } : value;
}

/**
 * Return the body of an order.
 *
 * @param {object} fields
 */
export function orderBody(fields) {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [
      name,
      MEDIA_NAMES.has(name) && value !== undefined && value !== null ? media(value) : value,
    ]),
  );
}
