// The result: a player, a picture or a sound, with its download.
import { downloadAddress, fileAddress } from "../shared/execution.js";
import { Button, Panel } from "../shared/parts.js";
import { html, useRef, useState } from "../shared/view.js";

const FRESH_MS = 30_000;

export function Result({ execution }) {
  const file = execution.result?.outputs?.result;
  if (!file) return null;
  const download = html`<a class="button" href=${downloadAddress(file.id)} download>Download</a>`;
  return html`<${Panel} id="result" title="Result" aside=${download}>
    <${Media} key=${file.id} file=${file} result=${execution.result} />
  <//>`;
}

function Media({ file, result }) {
  const address = fileAddress(file.url);
  if (file.kind === "video") return html`<${Player} file=${file} address=${address} result=${result} />`;
  if (file.kind === "image") return html`<img class="result" src=${address} alt="The result" />`;
  if (file.kind === "audio") return html`<audio class="result" controls preload="metadata" src=${address}></audio>`;
  return html`<p><a href=${address} target="_blank" rel="noreferrer">Open the ${file.kind}</a></p>`;
}

/**
 * A video. An address that has expired is replaced by a fresh one, at the same time of the video;
 * if that does not help either, the page says so.
 */
function Player({ file, address, result }) {
  const [broken, setBroken] = useState(false);
  const video = useRef(null);
  const renewed = useRef(0);
  const renew = () => {
    const { currentTime, paused } = video.current;
    renewed.current = Date.now();
    setBroken(false);
    // The address redirects to one that is valid now.
    video.current.src = address;
    video.current.currentTime = currentTime;
    if (!paused) video.current.play().catch(() => {});
  };
  const onError = () => (Date.now() - renewed.current < FRESH_MS ? setBroken(true) : renew());
  const { width, height } = file.media ?? {};
  const captions = captionsOf(result);
  return html`<video ref=${video} class="result" controls playsinline preload="metadata" src=${address}
      poster=${result.posterUrl ? fileAddress(result.posterUrl) : undefined} width=${width} height=${height} onError=${onError}>
      ${captions && html`<track kind="captions" label="Captions" src=${captions.address} default=${captions.isNeeded} />`}
    </video>
    ${broken && html`<div class="notice notice-bad" role="alert">
      <p>The video cannot be loaded. Check the connection, then try again. The file is kept.</p>
      <${Button} onClick=${renew}>Try again<//>
    </div>`}`;
}

/**
 * Return the captions of a result, or null. They are shown at once unless their step has also drawn
 * them on the frames.
 */
export function captionsOf({ assets }) {
  const file = assets.find(({ contentType }) => contentType === "text/vtt");
  if (!file) return null;
  const isDrawn = assets.some(({ step, kind }) => step === file.step && kind === "video");
  return { address: `/console/captions/${file.id}`, isNeeded: !isDrawn };
}
