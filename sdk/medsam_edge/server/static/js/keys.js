// The keyboard: one table, from which keys are handled and the help is written.

import { addBox, click, redo, remove, select, toggle, undo } from "./acts.js";
import { changed, goTo, lookAlong, state, viewport } from "./state.js";
import { announce, closeLast } from "./toast.js";

const TOOLS = { box: "Box", add: "Add", remove: "Take away", move: "Move", window: "Window" };

/** Choose a tool: box, add, remove, move or window. */
export function useTool(tool) {
  state.tool = tool;
  state.drawing = null;
  announce(`${TOOLS[tool]} tool`);
  changed();
}

const withDoc = (act) => () => state.doc && act(state.doc);
const withObject = (act) => () => state.doc?.object && act(state.doc.object);

function next(step) {
  const { doc } = state;
  if (!doc.objects.length) return;
  const at = doc.objects.findIndex((own) => own.key === doc.selected);
  const count = doc.objects.length;
  const to = at < 0 ? (step > 0 ? 0 : count - 1) : (at + step + count) % count;
  select(doc.objects[to].key);
  announce(`${doc.labels.get(doc.selected).name} selected`);
}

/** [keys as `KeyboardEvent.key`, group, what it does, function]; `^` stands for Ctrl or Cmd. */
export const KEYS = [
  [["b"], "Tools", "Box", () => useTool("box")],
  [["a"], "Tools", "Add: click on what is missing", () => useTool("add")],
  [["r"], "Tools", "Take away: click on what is too much", () => useTool("remove")],
  [["v"], "Tools", "Move the image", () => useTool("move")],
  [["w"], "Tools", "Window: drag up and down for brightness, left and right for contrast", () => useTool("window")],
  [["PageDown", "]"], "Slices", "Next slice (also the mouse wheel)", withDoc((doc) => goTo(doc.slice + 1))],
  [["PageUp", "["], "Slices", "Previous slice", withDoc((doc) => goTo(doc.slice - 1))],
  [["1"], "Slices", "Along the first axis (axial, as a rule)", () => lookAlong(0)],
  [["2"], "Slices", "Along the second axis (coronal, as a rule)", () => lookAlong(1)],
  [["3"], "Slices", "Along the third axis (sagittal, as a rule)", () => lookAlong(2)],
  [["+", "="], "View", "Closer (also Ctrl and the mouse wheel, or two fingers)", withDoc(() => zoom(1.25))],
  [["-"], "View", "Further away", withDoc(() => zoom(0.8))],
  [["0"], "View", "The whole image", withDoc(() => (viewport.fit(), changed()))],
  [["n"], "Objects", "Select the next object", withDoc(() => next(1))],
  [["p"], "Objects", "Select the previous object", withDoc(() => next(-1))],
  [["h"], "Objects", "Hide or show the selected object", withObject(toggle)],
  [["Delete", "Backspace"], "Objects", "Delete the selected object", withObject(remove)],
  [["^z"], "Edit", "Undo", undo],
  [["^Z", "^y"], "Edit", "Redo", redo],
  [["Escape"], "Edit", "Stop drawing; select nothing; close a message", escape],
];

/** Keys that act on the canvas while it has the focus. */
export const CANVAS_KEYS = [
  ["Arrow keys", "Move the cross by one pixel, with Shift by ten"],
  ["Enter", "Box: first corner, then the other. Add, Take away: click here"],
  ["Space and drag", "Move the image"],
];

function zoom(factor) {
  const { cursor } = state;
  viewport.zoom(factor, cursor ? viewport.toScreen([cursor[0] + 0.5, cursor[1] + 0.5]) : undefined);
  changed();
}

function escape() {
  if (state.drawing) state.drawing = state.corner = null;
  else if (!closeLast() && state.doc) select(null);
  changed();
}

/** Listen; `more` are rows of the page's own: opening, saving, help. */
export function listenToKeys(canvas, more) {
  KEYS.push(...more);
  document.addEventListener("keydown", (event) => {
    if (event.key === " " && event.target === canvas) {
      state.spaceHeld = true;
      event.preventDefault();
      return;
    }
    if (isTyping(event) || document.querySelector("dialog[open]")) return;
    if (event.target === canvas && canvasKey(event)) return event.preventDefault();
    if (event.altKey) return;
    const key = (event.ctrlKey || event.metaKey ? "^" : "") + event.key;
    const row = KEYS.find(([keys]) => keys.includes(key) || (!key.startsWith("^") && keys.includes(key.toLowerCase())));
    if (!row) return;
    event.preventDefault();
    row[3]();
  });
  document.addEventListener("keyup", (event) => {
    if (event.key === " ") state.spaceHeld = false;
  });
  canvas.addEventListener("blur", () => {
    state.spaceHeld = false;
  });
}

function isTyping({ target, ctrlKey, metaKey, key }) {
  if ((ctrlKey || metaKey) && ["s", "o"].includes(key)) return false;
  if (target.matches("textarea, input:not([type=range], [type=checkbox], [type=color])")) return true;
  if (ctrlKey || metaKey) return false;
  if (target.matches("select")) return true;
  return target.matches("input[type=range]") && ["PageUp", "PageDown"].includes(key);
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Arrow keys and Enter on the canvas; whether the key was one of them. */
function canvasKey(event) {
  const { doc } = state;
  if (!doc || event.ctrlKey || event.metaKey || event.altKey) return false;
  if (event.key in ARROWS) {
    moveCursor(ARROWS[event.key], event.shiftKey ? 10 : 1);
    return true;
  }
  if (event.key !== "Enter") return false;
  state.cursor ??= middle();
  const [u, v] = state.cursor;
  if (state.tool === "add" || state.tool === "remove") click([u, v], state.tool === "add" ? 1 : 0);
  else if (state.tool === "box" && !state.drawing) {
    state.corner = [u, v];
    state.drawing = [u, v, u + 1, v + 1];
    announce(`First corner at ${u}, ${v}`);
  } else if (state.tool === "box") {
    const drawn = state.drawing;
    state.drawing = state.corner = null;
    addBox(drawn);
  }
  changed();
  return true;
}

const middle = () => [Math.floor(viewport.plane.width / 2), Math.floor(viewport.plane.height / 2)];

function moveCursor([across, down], step) {
  const { width, height } = viewport.plane;
  const [u, v] = state.cursor ?? middle();
  const clamp = (value, most) => Math.min(most - 1, Math.max(0, value));
  const moved = [
    clamp(u + across * step * Math.sign(viewport.scaleU), width),
    clamp(v + down * step * Math.sign(viewport.scaleV), height),
  ];
  state.cursor = moved;
  state.pointer = moved;
  if (state.corner) {
    const [[u0, v0], [u1, v1]] = [state.corner, moved];
    state.drawing = [Math.min(u0, u1), Math.min(v0, v1), Math.max(u0, u1) + 1, Math.max(v0, v1) + 1];
  }
  viewport.reveal(moved);
  announce(`${moved[0]}, ${moved[1]}`);
  changed();
}
