// Worked examples to begin with.

const boat = {
  version: 1,
  steps: [
    { name: "picture", kind: "image", params: { prompt: "a paper boat on a rainy street", aspectRatio: "9:16" } },
    { name: "clip", kind: "video", params: { prompt: "the boat sails away", image: { step: "picture" }, duration: 5, resolution: "720p" } },
    { name: "voice", kind: "audio", model: "eleven_flash_v2_5", params: { text: "A paper boat sets sail in the rain." } },
    { name: "film", kind: "merge", params: { items: [{ media: { step: "clip" } }, { media: { step: "voice" }, offset: 0.5 }] } },
    { name: "subs", kind: "captions", params: { video: { step: "film" }, words: { step: "voice", output: "words" }, style: { preset: "tiktok" } } },
    { name: "cover", kind: "poster", params: { source: { step: "subs" }, at: 2 } },
  ],
  result: "subs",
  outputs: { cover: { step: "cover" }, srt: { step: "subs", output: "srt" } },
};

const twoClips = {
  version: 1,
  steps: [
    { name: "harbour", kind: "video", params: { prompt: "a harbour at dawn", duration: 5 } },
    { name: "kite", kind: "video", params: { prompt: "a kite over the harbour", duration: 5 } },
    { name: "film", kind: "merge", params: { items: [{ media: { step: "harbour" } }, { media: { step: "kite" } }] } },
    { name: "preview", kind: "preview", params: { source: { step: "film" } } },
  ],
  result: "film",
  outputs: { preview: { step: "preview" } },
};

const portrait = {
  version: 1,
  steps: [
    { name: "clip", kind: "video", params: { prompt: "a lighthouse in a storm", duration: 5, resolution: "720p" } },
    { name: "tall", kind: "reframe", params: { source: { step: "clip" }, aspectRatio: "9:16" } },
  ],
};

const choice = {
  version: 1,
  steps: [
    { name: "draft", kind: "image", count: 3, onFailure: "continue", params: { prompt: "a paper boat on a rainy street" } },
    { name: "choose", kind: "approval", params: { options: [{ step: "draft" }] } },
    { name: "clip", kind: "video", params: { prompt: "the boat sails away", image: { step: "choose" }, duration: 5 } },
  ],
  outputs: { chosen: { step: "choose" } },
};

export const EXAMPLES = [
  { name: "A captioned film with a voice", plan: boat },
  { name: "Two clips, one film", plan: twoClips },
  { name: "A clip for phones", plan: portrait },
  { name: "Three drafts, one choice", plan: choice },
];
