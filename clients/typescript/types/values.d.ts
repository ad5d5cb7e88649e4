/**
 * Return whether a value is an asset or a file of a result.
 *
 * @param {unknown} value
 * @returns {value is {id: string, sha256: string}}
 */
export function isStored(value: unknown): value is {
    id: string;
    sha256: string;
};
/**
 * Return a reference to a file. An object that is not a stored file is one already.
 *
 * @param {unknown} value
 */
export function media(value: unknown): unknown;
/**
 * Return the body of an order.
 *
 * @param {object} fields
 */
export function orderBody(fields: object): {
    [k: string]: any;
};
/** Values of request bodies: files as references. */
/** Parameters that take a file, where a text is an address. */
export const MEDIA_NAMES: Set<string>;
