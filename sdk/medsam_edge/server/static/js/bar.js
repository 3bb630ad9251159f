// The bar at the top and the tools at the left.

import { html, nothing, render } from "../vendor/lit-html/lit-html.js";
import { redo, undo } from "./acts.js";
import { icon, iconButton } from "./icons.js";
import { useTool } from "./keys.js";
import { step } from "./opening.js";
import { download, downloadView, formats, save } from "./saving.js";
import { changed, state, viewport } from "./state.js";
import { nextTheme, theme } from "./theme.js";

const TOOLS = [
  ["box", "Box", "B", "Drag a box around an object"],
  ["add", "Add", "A", "Click on what the mask lacks"],
  ["remove", "Take away", "R", "Click on what the mask has too much"],
  ["move", "Move", "V", "Drag the image"],
  ["window", "Window", "W", "Drag up and down for brightness, left and right for contrast"],
];

const show = (id) => () => document.getElementById(id).showModal();

export function drawBar() {
  const { doc, files } = state;
  const at = files.findIndex(({ file }) => file === doc?.file);
  render(
    html`
      <span class="brand">${icon("brand")} medsam-edge</span>
      <button type="button" class="primary" title="Open an image (Ctrl+O)" @click=${show("open")}>
        ${icon("open")} Open
      </button>
      ${files.length > 1
        ? html`<span class="group" role="group" aria-label="Files of the folder">
            ${iconButton("left", "Previous file", () => step(-1), { disabled: at < 1 })}
            ${iconButton("right", "Next file", () => step(1), { disabled: at >= files.length - 1 })}
          </span>`
        : nothing}
      <span class="title">
        ${doc ? html`<b>${doc.image.name}</b>${doc.dirty ? html`<span class="unsaved">not saved</span>` : nothing}` : ""}
        ${at >= 0 && files.length > 1 ? html`<small>${at + 1} of ${files.length}</small>` : nothing}
      </span>
      <span class="group" role="group" aria-label="Edit">
        ${iconButton("undo", "Undo", undo, { disabled: !doc?.history.canUndo, keys: "Ctrl+Z" })}
        ${iconButton("redo", "Redo", redo, { disabled: !doc?.history.canRedo, keys: "Ctrl+Shift+Z" })}
      </span>
      <button type="button" class="primary" popovertarget="save-menu" ?disabled=${!doc}>
        ${icon("save")} Save ${icon("down")}
      </button>
      <span class="group">
        ${iconButton(theme() === "dark" ? "moon" : theme() === "light" ? "sun" : "auto", `Colours: ${theme()}`, () => {
          nextTheme();
          changed();
        })}
        ${iconButton("help", "Help and keys", show("help"), { keys: "?" })}
      </span>
    `,
    document.getElementById("bar"),
  );
  drawSaveMenu(doc);
}

function drawSaveMenu(doc) {
  const any = doc?.objects.some((own) => own.segmentation);
  const item = (label, act, { keys = "", disabled = !any } = {}) => html`
    <button type="button" ?disabled=${disabled} @click=${() => (hideMenu(), act())}>
      <span>${label}</span>${keys ? html`<kbd>${keys}</kbd>` : nothing}
    </button>
  `;
  render(
    doc
      ? html`
          ${state.server?.saves ? item("Save on the server", save, { keys: "Ctrl+S", disabled: false }) : nothing}
          <p>Download the objects as</p>
          ${formats(doc).map(([name, label]) => item(label, () => download(name)))}
          <p>Download what is shown as</p>
          ${item("PNG picture", () => downloadView(document.getElementById("canvas")), { disabled: false })}
        `
      : nothing,
    document.getElementById("save-menu"),
  );
}

const hideMenu = () => document.getElementById("save-menu").hidePopover();

export function drawTools() {
  const { doc, tool } = state;
  render(
    html`
      ${TOOLS.map(
        ([name, label, key, what]) => html`
          <button
            type="button"
            class="tool"
            aria-pressed=${String(tool === name)}
            title="${what} (${key})"
            aria-keyshortcuts=${key}
            ?disabled=${!doc || (name === "window" && doc.image.color) || !takes(name)}
            @click=${() => useTool(name)}
          >
            ${icon(name)}<span>${label}</span>
          </button>
        `,
      )}
      <span class="gap"></span>
      ${iconButton("closer", "Closer", () => zoom(1.25), { disabled: !doc, keys: "+" })}
      ${iconButton("fit", "The whole image", () => (viewport.fit(), changed()), { disabled: !doc, keys: "0" })}
      ${iconButton("further", "Further away", () => zoom(0.8), { disabled: !doc, keys: "-" })}
    `,
    document.getElementById("tools"),
  );
}

/** Whether the network takes what a tool gives. */
const takes = (tool) => !["add", "remove"].includes(tool) || state.server?.prompts.includes("points");

function zoom(factor) {
  viewport.zoom(factor);
  changed();
}
