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

const threeClips = {
  version: 1,
  steps: [
    { name: "harbour", kind: "video", params: { prompt: "a harbour at dawn", duration: 5 } },
    { name: "kite", kind: "video", params: { prompt: "a kite over the harbour", duration: 5 } },
    { name: "sea", kind: "video", params: { prompt: "the open sea", duration: 5 } },
    { name: "voice", kind: "audio", params: { text: "It never asks where the wind comes from." } },
    { name: "film", kind: "merge", params: {
      items: [{ media: { step: "harbour" } }, { media: { step: "kite" } }, { media: { step: "sea" } }, { media: { step: "voice" }, offset: 1 }],
      transition: { type: "fade", duration: 0.5 },
    } },
    { name: "level", kind: "loudness", params: { source: { step: "film" }, target: -14 } },
  ],
};

const pictureInPicture = {
  version: 1,
  steps: [
    { name: "island", kind: "video", params: { prompt: "an island from above", duration: 5, resolution: "720p" } },
    { name: "host", kind: "video", params: { prompt: "a presenter in front of a plain green wall", duration: 5 } },
    { name: "film", kind: "layers", params: {
      items: [{ media: { step: "island" }, main: true }, { media: { step: "host" }, placement: "w-1/4 bottom-right", chromaKey: true }],
      width: 1280, height: 720,
    } },
  ],
};

const talkingHead = {
  version: 1,
  steps: [
    { name: "portrait", kind: "image", params: { prompt: "a sailor, seen from the front", aspectRatio: "9:16" } },
    { name: "voice", kind: "audio", model: "eleven_flash_v2_5", params: { text: "It never asks where the wind comes from." } },
    { name: "clip", kind: "talking-head", params: { image: { step: "portrait" }, audio: { step: "voice" } } },
    { name: "subs", kind: "captions", params: { video: { step: "clip" }, words: { step: "voice", output: "words" }, style: { preset: "youtube" } } },
  ],
  result: "subs",
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
  { name: "Three clips with a voice", plan: threeClips },
  { name: "A picture in the picture", plan: pictureInPicture },
  { name: "A talking head with captions", plan: talkingHead },
  { name: "Three drafts, one choice", plan: choice },
];
