// What the page shows, and who is told when it changes. Only `acts.js` and `opening.js` change a document's objects.

import { History } from "./history.js";
import { planeOf } from "./plane.js";
import { warn } from "./toast.js";
import { Viewport } from "./viewport.js";

export const COLORS = [
  "#ff5a5f", "#3ddc97", "#4da3ff", "#ffb400", "#c77dff", "#00d4d4", "#ff8cc6", "#b6e32e", "#ff924c", "#8ecae6",
]; // prettier-ignore

export const state = {
  /** What the server can do; null until it has answered. */
  server: null,
  /** Files of the served folder. */
  files: [],
  /** The image on the canvas, with its objects; null before one is open. */
  doc: null,
  /** Documents by image id, so that work stays while another image is shown. */
  docs: new Map(),
  tool: "box",
  follow: true,
  /** Of masks: fill, 0 to 1. */
  opacity: 0.35,
  /** The keyboard's place on the canvas, a pixel of the plane; null while the mouse leads. */
  cursor: null,
  /** The rectangle that is being drawn, [u0, v0, u1, v1]; `corner` where the keyboard began it. */
  drawing: null,
  corner: null,
  /** Whether the space bar is held, which moves the image. */
  spaceHeld: false,
  /** Where the pointer is, a pixel of the plane; null outside. */
  pointer: null,
  /** What takes long, as a sentence; null for nothing. */
  busy: null,
  /** When the prompt was given whose mask has just arrived; null once that mask is on the screen. */
  arrived: null,
  /** Milliseconds from the last prompt to its mask on the screen. */
  lastMs: null,
};

export const viewport = new Viewport();

/** An image, its objects, and how it is shown. */
export class Doc {
  constructor(image) {
    this.image = image;
    this.modality = image.modality;
    /** [level, width], or null for the modality's rule. */
    this.window = null;
    /** Whether the network sees the window too. */
    this.segmentsWindow = true;
    this.history = new History();
    /** Name and colour by an object's key. */
    this.labels = new Map();
    this.edits = 0;
    this._warned = new Set();
    this.selected = null;
    this.hidden = new Set();
    this.axis = 0;
    this.slices = [0, 1, 2].map((axis) => (image.volume ? planeOf(image, axis).depth >> 1 : 0));
    this.made = 0;
    /** What the network took the image for, where nobody said. */
    this.recognised = null;
    this.markSaved();
  }

  get objects() {
    return this.history.now;
  }

  get plane() {
    return planeOf(this.image, this.axis);
  }

  get slice() {
    return this.slices[this.axis];
  }

  get object() {
    return this.objects.find((own) => own.key === this.selected) ?? null;
  }

  get dirty() {
    return this.history.now !== this._saved.objects || this.edits !== this._saved.edits;
  }

  markSaved() {
    this._saved = { objects: this.history.now, edits: this.edits };
  }

  /** Say a warning of the sdk, once. */
  warn(text) {
    if (this._warned.has(text)) return;
    this._warned.add(text);
    warn(text);
  }

  /** How values become grey for the network. */
  get shown() {
    return { modality: this.modality, window: this.segmentsWindow ? this.window : null };
  }
}

const listeners = new Set();
let waiting = false;

/** Call a function once a frame in which something changed. */
export function onChange(listener) {
  listeners.add(listener);
}

/** Tell all listeners, in the next frame. */
export function changed() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    for (const listener of listeners) listener();
  });
}

/** Show another slice of the plane at hand. */
export function goTo(slice) {
  const { doc } = state;
  if (!doc?.image.volume) return;
  state.drawing = state.corner = null;
  doc.slices[doc.axis] = Math.min(doc.plane.depth - 1, Math.max(0, slice));
  changed();
}

/** Show slices along another axis. */
export function lookAlong(axis) {
  const { doc } = state;
  if (!doc?.image.volume || doc.axis === axis) return;
  doc.axis = axis;
  state.cursor = state.drawing = state.corner = null;
  viewport.show(doc.plane, false);
  changed();
}
