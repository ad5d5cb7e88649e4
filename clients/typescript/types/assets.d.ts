/**
 * @import {Asset, CallOptions} from "./shapes.js"
 * @import {Settings} from "./transport.js"
 */
/** The files of the account. */
export class Assets {
    /** @param {Settings} settings */
    constructor(settings: Settings);
    /**
     * Upload a picture, video or sound: its content, or in Node a path. Repeating is safe: the same
     * content is stored once.
     *
     * @param {string | Blob | Uint8Array<ArrayBuffer>} file
     * @param {CallOptions} [options]
     * @returns {Promise<Asset>}
     */
    upload(file: string | Blob | Uint8Array<ArrayBuffer>, { signal }?: CallOptions): Promise<Asset>;
    /**
     * Store the file of a public address as an asset.
     *
     * @param {string} url
     * @param {CallOptions} [options]
     * @returns {Promise<Asset>}
     */
    importUrl(url: string, { signal }?: CallOptions): Promise<Asset>;
    /**
     * Return an asset.
     *
     * @param {string} id
     * @param {CallOptions} [options]
     * @returns {Promise<Asset>}
     */
    get(id: string, { signal }?: CallOptions): Promise<Asset>;
    /**
     * Return the content of an asset, with the right checksum.
     *
     * @param {{id: string, sha256: string}} asset
     * @param {CallOptions} [options]
     */
    download(asset: {
        id: string;
        sha256: string;
    }, options?: CallOptions): Promise<Uint8Array<ArrayBuffer>>;
    /**
     * Store an asset under a path, which it has only when it is complete. Needs Node.
     *
     * @param {{id: string, sha256: string}} asset
     * @param {string} path
     * @param {CallOptions} [options]
     * @returns {Promise<string>}
     */
    downloadTo(asset: {
        id: string;
        sha256: string;
    }, path: string, options?: CallOptions): Promise<string>;
    #private;
}
import type { CallOptions } from "./shapes.js";
import type { Asset } from "./shapes.js";
import type { Settings } from "./transport.js";
