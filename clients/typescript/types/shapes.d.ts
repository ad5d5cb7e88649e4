export type Schemas = components["schemas"];
export type Asset = Schemas["Asset"];
export type Quote = Schemas["Quote"];
export type Cancelled = Schemas["Cancelled"];
export type Plan = Schemas["PlanBody"];
export type StoredFile = {
    id: string;
    sha256: string;
};
export type ResultFile = StoredFile & {
    step: string;
    kind: string;
    url: string;
    contentType: string;
    sizeBytes: number;
    media?: Record<string, unknown> | null;
};
/**
 * The result of an execution: addresses, and every stored file.
 */
export type Result = {
    url?: string | undefined;
    contentType?: string | undefined;
    videoUrl?: string | undefined;
    imageUrl?: string | undefined;
    audioUrl?: string | undefined;
    posterUrl?: string | null | undefined;
    outputs?: Record<string, ResultFile> | undefined;
    assets?: ResultFile[] | undefined;
};
export type ExecutionDocument = Omit<Schemas["Execution"], "result"> & {
    result: Result | null;
};
export type Execution = ExecutionDocument & Handle;
export type Accepted = Schemas["Accepted"] & Handle & {
    replayed: boolean;
};
export type Retried = Schemas["Retried"] & Handle & {
    replayed: boolean;
};
/**
 * A file: an address, an asset, or a file of a result.
 */
export type Media = string | StoredFile | Asset | {
    asset: string;
} | {
    url: string;
};
/**
 * The fields T, where those named F are files.
 */
export type WithFiles<T, F extends keyof T> = Omit<T, F> & { [name in F]?: Media | undefined; };
export type VideoOrder = WithFiles<Schemas["GenerateVideoRequest"], "image" | "endImage" | "audio">;
export type ImageOrder = WithFiles<Schemas["GenerateImageRequest"], "image">;
export type AudioOrder = Schemas["GenerateAudioRequest"];
export type TranscriptOrder = Omit<Schemas["TranscribeRequest"], "source"> & {
    source: Media;
};
/**
 * What every order takes. maxCost: US dollars as exact text, retries included.
 */
export type OrderOptions = {
    maxCost?: string | undefined;
    webhook?: string | undefined;
    webhookSecret?: string | undefined;
    metadata?: Record<string, string | number | boolean> | undefined;
};
/**
 * What every call takes. signal: ends the call, and its retries, with the reason of the signal.
 */
export type CallOptions = {
    signal?: AbortSignal | undefined;
};
/**
 * What every call takes that is paid for once per key. idempotencyKey: made for the call where it
 * is missing.
 */
export type KeyedOptions = CallOptions & {
    idempotencyKey?: string | undefined;
};
/**
 * A change of an execution. sequence: `events(id, {after: sequence})` continues behind it.
 */
export type ExecutionEvent = {
    type: "snapshot" | "end";
    sequence: number | null;
    data: ExecutionDocument;
} | {
    type: "progress";
    sequence: number | null;
    data: Record<string, any>;
} | {
    type: "job";
    sequence: number | null;
    data: Schemas["Job"];
} | {
    type: "cost";
    sequence: number | null;
    data: Schemas["Cost"];
};
import type { components } from "../types/schema.js";
import type { Handle } from "./executions.js";
