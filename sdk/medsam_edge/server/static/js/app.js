// The page: what happens when it opens, and what is drawn when something changes.

import * as api from "./api.js";
import { drawBar, drawTools } from "./bar.js";
import { drawFiles, drawHelp, listenToDialogs } from "./dialogs.js";
import { drawCanvas } from "./drawing.js";
import { drawImagePanel } from "./imagepanel.js";
import { listenToKeys } from "./keys.js";
import { drawObjectsPanel } from "./objectspanel.js";
import { droppedFiles, keepDraft, openFiles, reopen } from "./opening.js";
import { encodeAhead, fetchPictures } from "./pictures.js";
import { listen } from "./pointer.js";
import { save } from "./saving.js";
import { drawSlices } from "./slices.js";
import { changed, onChange, state, viewport } from "./state.js";
import { canvasLabel, drawStatus } from "./status.js";
import { applyTheme } from "./theme.js";
import { complain } from "./toast.js";

const canvas = document.getElementById("canvas");
const show = (id) => document.getElementById(id).showModal();

function draw() {
  drawBar();
  drawTools();
  drawImagePanel();
  drawObjectsPanel();
  drawSlices();
  drawStatus();
  drawCanvas(canvas);
  if (state.arrived !== null) requestAnimationFrame(timed);
  const label = canvasLabel();
  if (canvas.getAttribute("aria-label") !== label) canvas.setAttribute("aria-label", label);
  fetchPictures();
  encodeAhead();
  keepDraft();
}

/** The mask is on the screen since the last frame. */
function timed() {
  if (state.arrived === null) return;
  state.lastMs = performance.measure("prompt to pixels", { start: state.arrived }).duration;
  state.arrived = null;
  changed();
}

function listenToDrops() {
  const page = document.documentElement;
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
  page.addEventListener("dragover", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    page.classList.add("dropping");
  });
  page.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) page.classList.remove("dropping");
  });
  page.addEventListener("drop", async (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    page.classList.remove("dropping");
    for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
    openFiles(await droppedFiles(event.dataTransfer));
  });
}

async function begin() {
  try {
    [state.server, state.files] = await Promise.all([api.server(), api.files()]);
    drawFiles();
    changed();
    requestAnimationFrame(() => performance.mark("ready"));
    await reopen();
  } catch (error) {
    if (error.status === 401) show("token");
    else complain(error);
  }
}

api.takeToken();
applyTheme();
listen(canvas);
listenToDialogs(openFiles);
listenToDrops();
listenToKeys(canvas, [
  [["^o"], "Image", "Open an image", () => show("open")],
  [["^s"], "Image", "Save all objects on the server", save],
  [["?"], "Image", "This help", () => show("help")],
]);
drawHelp();
onChange(draw);
new ResizeObserver(() => {
  viewport.resize(canvas.clientWidth, canvas.clientHeight);
  changed();
}).observe(canvas);
window.addEventListener("beforeunload", (event) => {
  if ([...state.docs.values()].some((doc) => doc.dirty && doc.objects.length)) event.preventDefault();
});
changed();
begin();
