// Mouse, pen and fingers on the canvas.

import { addBox, click, moveBox, select } from "./acts.js";
import { contains } from "./masks.js";
import { boxOn, rectangleOf } from "./plane.js";
import { regionOn } from "./sections.js";
import { changed, goTo, state, viewport } from "./state.js";
import { shiftWindow } from "./window.js";

const NEAR = 9; // screen pixels from a handle that still catch it
const STILL = 4; // screen pixels that a click may wander

/** Listen on the canvas. */
export function listen(canvas) {
  const fingers = new Map();
  let drag = null;
  const at = (event) => [event.offsetX, event.offsetY];

  canvas.addEventListener("pointerdown", (event) => {
    if (!state.doc) return;
    canvas.setPointerCapture(event.pointerId);
    state.cursor = null;
    if (event.pointerType === "touch") fingers.set(event.pointerId, at(event));
    if (fingers.size > 1) {
      drag?.abort?.();
      drag = pinch(fingers);
    } else {
      drag = begin(event, at(event));
    }
    changed();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!state.doc) return;
    if (fingers.has(event.pointerId)) fingers.set(event.pointerId, at(event));
    state.pointer = inside(viewport.toPlane(at(event)));
    canvas.style.cursor = drag ? "" : cursorAt(at(event));
    drag?.move(at(event), event);
    changed();
  });
  canvas.addEventListener("pointerup", (event) => {
    fingers.delete(event.pointerId);
    drag?.end?.(at(event));
    drag = null;
    changed();
  });
  canvas.addEventListener("pointercancel", (event) => {
    fingers.delete(event.pointerId);
    drag?.abort?.();
    drag = null;
    changed();
  });
  canvas.addEventListener("pointerleave", () => {
    state.pointer = null;
    changed();
  });
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("wheel", (event) => wheel(event, at(event)), { passive: false });
}

function wheel(event, place) {
  const { doc } = state;
  if (!doc) return;
  event.preventDefault();
  if (doc.image.volume && !event.ctrlKey) goTo(doc.slice + (Math.sign(event.deltaY) || 0));
  else viewport.zoom(1.0015 ** -event.deltaY, place);
  changed();
}

/** What a press begins: each kind of drag has `move`, `end` and `abort`. */
function begin(event, place) {
  const right = event.button === 2;
  if (event.button === 1 || state.tool === "move" || state.spaceHeld) return panning(place);
  if (state.tool === "add" || state.tool === "remove") return clicking(place, (state.tool === "add") !== right ? 1 : 0);
  if (right || state.tool === "window") return windowing(place);
  return boxing(place);
}

function panning([x, y]) {
  return {
    move([nextX, nextY]) {
      viewport.pan(nextX - x, nextY - y);
      [x, y] = [nextX, nextY];
    },
  };
}

function windowing([x, y]) {
  return {
    move([nextX, nextY]) {
      shiftWindow(nextY - y, nextX - x);
      [x, y] = [nextX, nextY];
    },
  };
}

function clicking(start, label) {
  return {
    move() {},
    end(place) {
      const pixel = viewport.toPlane(start).map(Math.floor);
      if (near(start, place, STILL) && isInside(pixel)) click(pixel, label);
    },
  };
}

function pinch(fingers) {
  const measure = () => {
    const [[x0, y0], [x1, y1]] = fingers.values();
    return { middle: [(x0 + x1) / 2, (y0 + y1) / 2], apart: Math.hypot(x1 - x0, y1 - y0) };
  };
  let before = measure();
  return {
    move() {
      if (fingers.size < 2) return;
      const now = measure();
      viewport.pan(now.middle[0] - before.middle[0], now.middle[1] - before.middle[1]);
      viewport.zoom(now.apart / Math.max(1, before.apart), now.middle);
      before = now;
    },
  };
}

/** Draw a box, or change the selected one by its handles; without moving, select what is there. */
function boxing(start) {
  const { doc } = state;
  const object = doc.object;
  const held = grip(start);
  const from = viewport.toPlane(start);
  const rectangle = held && rectangleOf(doc.image, doc.plane, object.box).rectangle;
  return {
    move(place) {
      if (near(start, place, STILL) && !state.drawing) return;
      const to = viewport.toPlane(place);
      state.drawing = held ? pulled(rectangle, held, from, to) : spanned(from, to);
    },
    end() {
      const drawn = state.drawing;
      state.drawing = null;
      if (!drawn) return pick(from);
      if (drawn[2] - drawn[0] < 1 || drawn[3] - drawn[1] < 1) return;
      if (!held) return addBox(drawn);
      const box = boxOn(doc.image, doc.plane, doc.slice, drawn);
      if (doc.image.volume) [box[doc.plane.k], box[3 + doc.plane.k]] = ends(object.box, doc.plane.k);
      moveBox(object, box);
    },
    abort() {
      state.drawing = null;
    },
  };
}

const ends = (box, side) => [box[side], box[3 + side]];

/** Select the topmost object under a place; none where there is none. */
function pick(pixel) {
  const { doc } = state;
  const hit = doc.objects.findLast((own) => {
    const region = doc.hidden.has(own.key) ? null : regionOn(own, doc.axis, doc.slice);
    return region && contains(region, pixel);
  });
  select(hit?.key ?? null);
}

/** Which sides of the selected box a place on the screen holds, as [-1|0|1, -1|0|1]; [0, 0] moves it; null holds none. */
function grip(place) {
  const { doc } = state;
  const object = doc?.object;
  if (state.tool !== "box" || !object?.box || object.axis !== doc.axis || doc.hidden.has(object.key)) return null;
  const { rectangle, first, last } = rectangleOf(doc.image, doc.plane, object.box);
  if (doc.slice < first || doc.slice >= last) return null;
  const [u0, v0, u1, v1] = rectangle;
  const nearTo = (u, v) => near(viewport.toScreen([u, v]), place, NEAR);
  for (const across of [-1, 0, 1]) {
    for (const down of [-1, 0, 1]) {
      const u = (u0 + u1) / 2 + (across * (u1 - u0)) / 2;
      const v = (v0 + v1) / 2 + (down * (v1 - v0)) / 2;
      if ((across || down) && nearTo(u, v)) return [across, down];
    }
  }
  const [x, y] = viewport.toPlane(place);
  const onEdge =
    nearTo(Math.min(u1, Math.max(u0, x)), y < (v0 + v1) / 2 ? v0 : v1) ||
    nearTo(x < (u0 + u1) / 2 ? u0 : u1, Math.min(v1, Math.max(v0, y)));
  return onEdge ? [0, 0] : null;
}

function pulled([u0, v0, u1, v1], [across, down], from, to) {
  const [du, dv] = [to[0] - from[0], to[1] - from[1]];
  if (!across && !down) {
    const { width, height } = viewport.plane;
    const [moveU, moveV] = [between(du, -u0, width - u1), between(dv, -v0, height - v1)];
    return rounded([u0 + moveU, v0 + moveV, u1 + moveU, v1 + moveV]);
  }
  const one = [across < 0 ? u0 + du : u0, down < 0 ? v0 + dv : v0];
  const other = [across > 0 ? u1 + du : u1, down > 0 ? v1 + dv : v1];
  return spanned(one, other);
}

/** The rectangle between two places, in whole pixels, inside the image. */
function spanned([u0, v0], [u1, v1]) {
  const { width, height } = viewport.plane;
  const [left, right] = [Math.min(u0, u1), Math.max(u0, u1)].map((u) => between(u, 0, width));
  const [top, bottom] = [Math.min(v0, v1), Math.max(v0, v1)].map((v) => between(v, 0, height));
  return rounded([left, top, right, bottom]);
}

const rounded = (rectangle) => rectangle.map(Math.round);
const between = (value, least, most) => Math.min(most, Math.max(least, value));
const near = ([x0, y0], [x1, y1], distance) => Math.abs(x1 - x0) <= distance && Math.abs(y1 - y0) <= distance;
const isInside = ([u, v]) => u >= 0 && v >= 0 && u < viewport.plane.width && v < viewport.plane.height;

function inside(place) {
  const pixel = place.map(Math.floor);
  return isInside(pixel) ? pixel : null;
}

function cursorAt(place) {
  if (state.tool === "move" || state.spaceHeld) return "grab";
  if (state.tool === "window") return "ns-resize";
  const held = grip(place);
  if (!held) return "crosshair";
  const [across, down] = [held[0] * Math.sign(viewport.scaleU), held[1] * Math.sign(viewport.scaleV)];
  if (!across && !down) return "move";
  if (!across) return "ns-resize";
  if (!down) return "ew-resize";
  return across === down ? "nwse-resize" : "nesw-resize";
}
