// The panel of the image: what it is, modality, window, and the plane of a volume.

import { html, nothing, render } from "../vendor/lit-html/lit-html.js";
import { planeOf } from "./plane.js";
import { changed, lookAlong, state } from "./state.js";
import { setWindow, windowNow } from "./window.js";

export function drawImagePanel() {
  const { doc } = state;
  document.getElementById("side").hidden = !doc;
  render(
    doc
      ? html`
          <h2>Image</h2>
          <p class="facts">${facts(doc.image)}</p>
          ${modality(doc)} ${doc.image.volume ? planes(doc) : nothing} ${doc.image.color ? nothing : windowing(doc)}
        `
      : nothing,
    document.getElementById("image"),
  );
}

function facts({ shape, color, dtype, spacing_mm: spacing }) {
  const size = [...shape].reverse().join(" × ");
  const mm = spacing ? ` · ${spacing.map((side) => Number(side.toPrecision(3))).join(" × ")} mm` : "";
  return `${size} · ${color ? "colour" : dtype}${mm}`;
}

function modality(doc) {
  const { recognised } = doc;
  const known = recognised?.modality && !doc.modality;
  return html`
    <label class="row">
      <span>Modality</span>
      <select
        id="modality"
        .value=${doc.modality ?? ""}
        @change=${(event) => {
          doc.modality = event.target.value || null;
          doc.window = null;
          doc.recognised = null;
          changed();
        }}
      >
        <option value="" ?selected=${!doc.modality}>Not said</option>
        ${state.server.modalities.map(
          (name) => html`<option value=${name} ?selected=${doc.modality === name}>${name}</option>`,
        )}
      </select>
    </label>
    ${known
      ? html`<p class="hint">
          Taken for ${recognised.modality} (${Math.round(100 * recognised.modality_confidence)} %)
        </p>`
      : nothing}
    ${doc.modality || known ? nothing : html`<p class="hint">Choose it: grey values and masks depend on it.</p>`}
  `;
}

function planes(doc) {
  return html`
    <div class="segments" role="group" aria-label="Plane">
      ${[0, 1, 2].map(
        (axis) => html`
          <button type="button" aria-pressed=${String(doc.axis === axis)} @click=${() => lookAlong(axis)}>
            ${planeOf(doc.image, axis).name}
          </button>
        `,
      )}
    </div>
  `;
}

function windowing(doc) {
  const [level, width] = windowNow(doc);
  const presets = doc.modality === "CT" && doc.image.dtype !== "uint8" ? Object.entries(state.server.windows) : [];
  const same = (one) => doc.window && one[0] === doc.window[0] && one[1] === doc.window[1];
  const preset = doc.window === null ? "" : (presets.find(([, own]) => same(own))?.[0] ?? "own");
  const number = (label, at) => html`
    <label>
      <span>${label}</span>
      <input
        type="number"
        step="any"
        .value=${String(at ? width : level)}
        @change=${(event) => {
          const { value } = event.target;
          const next = [...windowNow(doc)]; // not what was drawn: the other number may have changed since
          next[at] = at ? Math.abs(value) : Number(value);
          if (value !== "") setWindow(next);
          event.target.value = windowNow(doc)[at];
        }}
      />
    </label>
  `;
  return html`
    <label class="row">
      <span>Window</span>
      <select
        id="window"
        .value=${preset}
        @change=${(event) => {
          const { value } = event.target;
          if (value === "own") setWindow([level, width]);
          else setWindow(value ? state.server.windows[value] : null);
        }}
      >
        <option value="" ?selected=${preset === ""}>${doc.image.dtype === "uint8" ? "As stored" : "Standard"}</option>
        ${presets.map(([name, own]) => html`<option value=${name} ?selected=${preset === name}>${title(name, own)}</option>`)}
        <option value="own" ?selected=${preset === "own"}>Own</option>
      </select>
    </label>
    <div class="pair">
      ${number("Level", 0)} ${number("Width", 1)}
    </div>
    <label class="check" title="Otherwise the window is for your eyes alone">
      <input
        type="checkbox"
        .checked=${doc.segmentsWindow}
        @change=${(event) => {
          doc.segmentsWindow = event.target.checked;
          changed();
        }}
      />
      <span>The network sees this window too</span>
    </label>
  `;
}

const title = (name, [level, width]) => `${name[0].toUpperCase()}${name.slice(1)} (${level}, ${width})`;
