/** Assets: uploads, and outputs of executions. */

import { sendJson } from "./attempts.js";
import { downloadBytes, downloadFile, module } from "./files.js";

/**
 * @import {Asset, CallOptions} from "./shapes.js"
 * @import {Settings} from "./transport.js"
 */

/** The files of the account. */
export class Assets {
  #settings;

  /** @param {Settings} settings */
  constructor(settings) {
    this.#settings = settings;
  }

  /**
   * Upload a picture, video or sound: its content, or in Node a path. Repeating is safe: the same
   * content is stored once.
   *
   * @param {string | Blob | Uint8Array<ArrayBuffer>} file
   * @param {CallOptions} [options]
   * @returns {Promise<Asset>}
   */
  async upload(file, { signal } = {}) {
    let content = file;
    if (typeof content === "string") content = await (await module("fs")).openAsBlob(content);
    const form = new FormData();
    form.set("file", content instanceof Blob ? content : new Blob([content]), "file");
    return sendJson(this.#settings, { method: "POST", path: "/api/assets", form, signal });
  }

  /**
   * Store the file of a public address as an asset.
   *
   * @param {string} url
   * @param {CallOptions} [options]
   * @returns {Promise<Asset>}
   */
  importUrl(url, { signal } = {}) {
    const call = { method: "POST", path: "/api/assets", body: { url }, signal };
    return sendJson(this.#settings, call);
  }

  /**
   * Return an asset.
   *
   * @param {string} id
   * @param {CallOptions} [options]
   * @returns {Promise<Asset>}
   */
  get(id, { signal } = {}) {
    const path = `/api/assets/${encodeURIComponent(id)}`;
    return sendJson(this.#settings, { method: "GET", path, signal });
  }

  /**
   * Return the content of an asset, with the right checksum.
   *
   * @param {{id: string, sha256: string}} asset
   * @param {CallOptions} [options]
   */
  download(asset, options = {}) {
    return downloadBytes(this.#settings, asset, options);
  }

  /**
   * Store an asset under a path, which it has only when it is complete. Needs Node.
   *
   * @param {{id: string, sha256: string}} asset
   * @param {string} path
   * @param {CallOptions} [options]
   * @returns {Promise<string>}
   */
  downloadTo(asset, path, options = {}) {
    return downloadFile(this.#settings, asset, path, options);
  }
}
