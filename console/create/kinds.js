// What can be ordered here, by kind: routes, and the fields that its request has.

/**
 * path: of the order; its quote is at `/api/quotes` + quote. method: of the TypeScript client; that of
 * the Python client is the same in snake_case. model: the field that names the model.
 * text: the field that says what to make, with its label and longest length. inputs: the further
 * fields, by the names in `inputs` of a model.
 */
export const KINDS = {
  video: {
    name: "Video",
    path: "/api/generate-video",
    method: "generateVideo",
    quote: "",
    model: "videoModel",
    text: { name: "prompt", label: "What the video shows", max: 500 },
    inputs: ["image", "endImage", "audio", "duration", "resolution", "aspectRatio", "negativePrompt", "seed"],
  },
  image: {
    name: "Image",
    path: "/api/generate-image",
    method: "generateImage",
    quote: "/generate-image",
    model: "model",
    text: { name: "prompt", label: "What the image shows", max: 2000 },
    inputs: ["image", "aspectRatio", "resolution", "negativePrompt", "seed"],
  },
  audio: {
    name: "Speech",
    path: "/api/generate-audio",
    method: "generateAudio",
    quote: "/generate-audio",
    model: "model",
    text: { name: "text", label: "What is spoken", max: 5000 },
    inputs: ["voice", "language", "speed", "stability", "similarityBoost", "seed"],
  },
  transcript: {
    name: "Transcript",
    path: "/api/transcribe",
    method: "transcribe",
    quote: "/transcribe",
    model: "model",
    text: null,
    inputs: ["source", "language"],
  },
};

export const LABELS = {
  image: "First picture",
  endImage: "Last picture",
  audio: "Sound",
  source: "Recording",
  duration: "Duration in seconds",
  resolution: "Resolution",
  aspectRatio: "Aspect ratio",
  negativePrompt: "What to avoid",
  seed: "Seed",
  voice: "Voice",
  language: "Language",
  speed: "Speed",
  stability: "Stability",
  similarityBoost: "Similarity",
};

export const MEDIA = new Set(["image", "video", "audio"]);

/** Return the input of a model by name. Kinds name some files after what they are. */
export function inputOf(model, name) {
  const inputs = model?.inputs ?? [];
  if (name !== "source") return inputs.find((each) => each.name === name) ?? null;
  return inputs.find(({ type }) => MEDIA.has(type)) ?? null;
}
