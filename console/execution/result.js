// The result: a player, a picture or a sound, with its download.
import { downloadAddress, fileAddress } from "../shared/execution.js";
import { Panel } from "../shared/parts.js";
import { html, useRef } from "../shared/view.js";

const FRESH_MS = 30_000;

export function Result({ execution }) {
  const file = execution.result?.outputs?.result;
  if (!file) return null;
  const download = html`<a class="button" href=${downloadAddress(file.id)} download>Download</a>`;
  return html`<${Panel} id="result" title="Result" aside=${download}>
    <${Media} file=${file} poster=${execution.result.posterUrl} captions=${captionsOf(execution.result)} />
  <//>`;
}

function Media({ file, poster, captions }) {
  const address = fileAddress(file.url);
  if (file.kind === "video") return html`<${Player} key=${address} file=${file} address=${address} poster=${poster} captions=${captions} />`;
  if (file.kind === "image") return html`<img class="result" src=${address} alt="The result" />`;
  if (file.kind === "audio") return html`<audio class="result" controls preload="metadata" src=${address}></audio>`;
  return html`<p><a href=${address} target="_blank" rel="noreferrer">Open the ${file.kind}</a></p>`;
}

/** A video. An address that has expired is replaced once in a while, at the same time of the video. */
function Player({ file, address, poster, captions }) {
  const renewed = useRef(0);
  const renew = (event) => {
    const video = event.currentTarget;
    if (Date.now() - renewed.current < FRESH_MS) return;
    renewed.current = Date.now();
    const { currentTime, paused } = video;
    video.src = address;
    video.currentTime = currentTime;
    if (!paused) video.play().catch(() => {});
  };
  const { width, height } = file.media ?? {};
  return html`<video class="result" controls playsinline preload="metadata" src=${address}
    poster=${poster ? fileAddress(poster) : undefined} width=${width} height=${height} onError=${renew}
    crossorigin=${captions ? "anonymous" : undefined}>
    ${captions && html`<track kind="captions" label="Captions" src=${fileAddress(captions.url)} default />`}
  </video>`;
}

/** Return the captions of the result as WebVTT, or null. */
const captionsOf = (result) => result.assets.find(({ contentType }) => contentType === "text/vtt") ?? null;
