// Files: uploads and outputs, with a picture where there is one.
import { remove, request } from "../shared/api.js";
import { Button, Copy, Dialog, Empty, Loading, Page, Problem } from "../shared/parts.js";
import { usePages } from "../shared/pages.js";
import { useAction } from "../shared/resource.js";
import { href, replaceQuery } from "../shared/router.js";
import { may } from "../shared/session.js";
import { Time } from "../shared/time.js";
import { html, useState } from "../shared/view.js";
import { factsOf, sizeWords } from "./facts.js";

const PATH = "/api/assets";
const SOURCES = [["", "All"], ["upload", "Uploads"], ["output", "Outputs"]];

export default function AssetsScreen({ query, session }) {
  const list = usePages(PATH, { source: query.source });
  const mayChange = may(session, "generate");
  return html`<${Page} title="Assets" aside=${mayChange && html`<${Upload} onDone=${list.reload} />`}>
    <div class="filters"><div class="choices" role="group" aria-label="Source">${SOURCES.map(([source, name]) => html`
      <button type="button" aria-pressed=${(query.source ?? "") === source}
        onClick=${() => replaceQuery("assets", { source })}>${name}</button>`)}</div></div>
    <${Problem} error=${list.error} again=${list.reload} />
    ${!list.items && !list.error && html`<${Loading} what="files" />`}
    ${list.items?.length === 0 && html`<${Empty}><p>No file is here yet.</p><p>Uploads and finished videos appear here.</p><//>`}
    ${list.items?.length > 0 && html`<ul class="cards">${list.items.map((asset) => html`
      <${Card} key=${asset.id} asset=${asset} mayDelete=${mayChange && asset.source === "upload"} onDone=${list.reload} />`)}</ul>`}
    ${list.hasMore && html`<p class="more"><${Button} onClick=${list.more}>Show more<//></p>`}
  <//>`;
}

function Upload({ onDone }) {
  const { run, busy, error } = useAction(async (files) => {
    for (const file of files) {
      const body = new FormData();
      body.append("file", file);
      await request("POST", PATH, { body });
    }
    await onDone();
  });
  const choose = (event) => {
    const files = [...event.target.files];
    event.target.value = "";
    run(files);
  };
  return html`<div class="stack">
    <label class="button button-primary">${busy ? "Uploading …" : "Upload files"}
      <input class="hidden" type="file" multiple accept="image/*,video/*,audio/*" disabled=${busy} onChange=${choose} /></label>
    <${Problem} error=${error} />
  </div>`;
}

function Card({ asset, mayDelete, onDone }) {
  const [asked, setAsked] = useState(false);
  const content = `${PATH}/${asset.id}/content`;
  return html`<li class="panel">
    <span class="card-picture">${asset.kind === "image"
      ? html`<img src=${content} alt="" loading="lazy" decoding="async" />`
      : asset.kind === "video"
        ? html`<video src=${content} preload="metadata" muted controls></video>`
        : html`<span class="quiet">${asset.kind}</span>`}</span>
    <p class="wrap">${factsOf(asset)} <span class="quiet">${sizeWords(asset.size)}</span></p>
    <p class="quiet">${asset.source === "output"
      ? html`<a href=${href(`executions/${asset.executionId}`)}>made</a>`
      : "uploaded"} <${Time} at=${asset.createdAt} /></p>
    <${Copy} text=${asset.id} label=${`${asset.id.slice(0, 20)}…`} />
    <div class="actions">
      <a class="button" href=${`${content}?download=`}>Download</a>
      ${mayDelete && html`<${Button} kind="danger" onClick=${() => setAsked(true)}>Delete …<//>`}
    </div>
    ${asked && html`<${DeleteDialog} asset=${asset} onClose=${() => setAsked(false)} onDone=${onDone} />`}
  </li>`;
}

function DeleteDialog({ asset, onClose, onDone }) {
  const { run, busy, error } = useAction(async () => {
    await remove(`${PATH}/${asset.id}`);
    onClose();
    await onDone();
  });
  return html`<${Dialog} title="Delete this upload?" onClose=${onClose}>
    <p>Executions that used it keep their outputs. A retry that needs it will be refused.</p>
    <${Problem} error=${error} />
    <div class="actions">
      <${Button} onClick=${onClose}>Keep it<//>
      <${Button} kind="danger" busy=${busy} onClick=${run}>Delete it<//>
    </div>
  <//>`;
}
