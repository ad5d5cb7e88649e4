/**
 * Return the content of a stored file.
 *
 * @param {Settings} settings
 * @param {{id: string, sha256: string}} file
 * @param {CallOptions} options
 */
export function downloadBytes(settings: Settings, file: {
    id: string;
    sha256: string;
}, options: CallOptions): Promise<Uint8Array<ArrayBuffer>>;
/**
 * Store a file under a path, which it has only when it is complete. Needs Node.
 *
 * @param {Settings} settings
 * @param {{id: string, sha256: string}} file
 * @param {string} path
 * @param {CallOptions} options
 */
export function downloadFile(settings: Settings, file: {
    id: string;
    sha256: string;
}, path: string, options: CallOptions): Promise<string>;
/**
 * Load a module of Node, which bundlers for browsers must not look for.
 *
 * @param {string} name
 * @returns {Promise<any>}
 */
export function module(name: string): Promise<any>;
import type { Settings } from "./transport.js";
import type { CallOptions } from "./shapes.js";
