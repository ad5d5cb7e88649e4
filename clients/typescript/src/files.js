/** Downloads that are complete only if their checksum is right. */

import { send } from "./attempts.js";
import { DownloadError } from "./errors.js";

/**
 * @import {Exchange, Settings} from "./transport.js"
 * @import {CallOptions} from "./shapes.js"
 */

/**
 * @param {string} assetId
 * @param {CallOptions} options
 */
function call(assetId, { signal }) {
  return { method: "GET", path: `/api/assets/${encodeURIComponent(assetId)}/content`, signal };
}

/**
 * Return the content of a stored file.
 *
 * @param {Settings} settings
 * @param {{id: string, sha256: string}} file
 * @param {CallOptions} options
 */
export function downloadBytes(settings, file, options) {
  return send(settings, call(file.id, options), async (response, exchange) => {
    const content = await exchange.bytes(response);
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
    check(file, Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join(""));
    return content;
  });
}

/**
 * Store a file under a path, which it has only when it is complete. Needs Node.
 *
 * @param {Settings} settings
 * @param {{id: string, sha256: string}} file
 * @param {string} path
 * @param {CallOptions} options
 */
export async function downloadFile(settings, file, path, options) {
  const [fs, { createHash }] = await Promise.all([module("fs/promises"), module("crypto")]);
  const part = `${path}.part`;
  return send(settings, call(file.id, options), async (response, exchange) => {
    const hash = createHash("sha256");
    const opened = await fs.open(part, "w");
    try {
      for await (const bytes of exchange.parts(response)) {
        hash.update(bytes);
        await opened.writeFile(bytes);
      }
      await opened.close();
      check(file, hash.digest("hex"));
      await fs.rename(part, path);
    } finally {
      await opened.close();
      await fs.rm(part, { force: true });
    }
    return path;
  });
}

/**
 * @param {{id: string, sha256: string}} file
 * @param {string} sha256
 */
function check(file, sha256) {
  if (sha256 !== file.sha256) {
    throw new DownloadError(`The content of ${file.id} has another SHA-256 than the stored file.`);
  }
}

/**
 * Load a module of Node, which bundlers for browsers must not look for.
 *
 * @param {string} name
 * @returns {Promise<any>}
 */
export function module(name) {
  return import(/* webpackIgnore: true */ /* @vite-ignore */ `node:${name}`);
}
