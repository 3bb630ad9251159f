// The line at the bottom, and what stands on the canvas before there is an image or while something takes long.

import { html, nothing, render } from "../vendor/lit-html/lit-html.js";
import { pointOn } from "./plane.js";
import { state, viewport } from "./state.js";

export function drawStatus() {
  const { doc, pointer, lastMs, busy } = state;
  const at = doc && pointer ? pointOn(doc.image, doc.plane, doc.slice, pointer).join(", ") : "";
  const waits = doc?.objects.some((own) => own.waiting);
  render(
    doc
      ? html`
          <span class="at">${at && `${doc.image.volume ? "x, y, z" : "x, y"}: ${at}`}</span>
          <span>${Math.round(100 * viewport.scale)} %</span>
          ${doc.window ? html`<span>Level ${doc.window[0]}, width ${doc.window[1]}</span>` : nothing}
          <span class="gap"></span>
          <span>${waits ? "Segmenting …" : lastMs === null ? "" : `Mask after ${Math.round(lastMs)} ms`}</span>
          <span class="warning">Not a medical device</span>
        `
      : html`<span class="gap"></span><span class="warning">Not a medical device</span>`,
    document.getElementById("status"),
  );
  const cover = document.getElementById("busy");
  cover.hidden = !busy;
  document.getElementById("busy-text").textContent = busy ?? "";
  document.getElementById("welcome").hidden = doc !== null || busy !== null;
}

/** What the canvas shows, for who cannot see it. */
export function canvasLabel() {
  const { doc } = state;
  if (!doc) return "No image is open";
  const { image, objects, slice, plane } = doc;
  const where = image.volume ? `, ${plane.name} slice ${slice + 1} of ${plane.depth}` : "";
  const names = objects.map(({ key }) => doc.labels.get(key).name).join(", ");
  return `${image.name}${where}. ${objects.length ? `Objects: ${names}` : "No objects yet"}`;
}
