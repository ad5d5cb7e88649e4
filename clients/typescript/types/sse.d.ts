/**
 * Server-sent events: a parser without I/O.
 * https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
 */
/** @typedef {{type: string, data: string, id: string | undefined}} ServerEvent */
/** Parses one stream. lastId: of the last complete event; a new stream continues after it. */
export class EventParser {
    /** @param {string} [lastId] */
    constructor(lastId?: string);
    lastId: string | undefined;
    /**
     * The seconds that the service wants between two streams.
     *
     * @type {number | undefined}
     */
    retrySeconds: number | undefined;
    /**
     * Take the next bytes. Return the events that they complete; none for a heartbeat.
     *
     * @param {Uint8Array} part
     * @returns {ServerEvent[]}
     */
    feed(part: Uint8Array): ServerEvent[];
    #private;
}
export type ServerEvent = {
    type: string;
    data: string;
    id: string | undefined;
};
