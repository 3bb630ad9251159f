// The canvas: image, masks, boxes, clicks, cursor, scale.

import { drawable } from "./masks.js";
import { pictureNow } from "./pictures.js";
import { pixelOf, rectangleOf } from "./plane.js";
import { regionOn } from "./sections.js";
import { state, viewport } from "./state.js";

const HANDLE = 4;
const SMOOTH_BELOW = 6;

/** Draw everything; `canvas` has the size of its place on the page. */
export function drawCanvas(canvas) {
  const ratio = devicePixelRatio;
  const [width, height] = [Math.round(viewport.width * ratio), Math.round(viewport.height * ratio)];
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, width, height);
  const { doc } = state;
  if (!doc) return;
  const plane = new DOMMatrix([ratio, 0, 0, ratio, 0, 0]).multiply(viewport.matrix);
  const shown = pictureNow();
  if (shown) drawPicture(context, plane, shown.picture);
  const visible = doc.objects.filter((own) => !doc.hidden.has(own.key));
  for (const object of shown ? visible : []) drawMask(context, plane, object, shown.slice);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  for (const object of visible) drawPrompts(context, object);
  if (state.drawing) drawRectangle(context, state.drawing, "#ffffff", [6, 4]);
  if (state.cursor) drawCursor(context);
  drawLetters(context);
  drawScale(context);
}

function drawPicture(context, matrix, picture) {
  context.setTransform(matrix);
  context.imageSmoothingEnabled = viewport.scale * devicePixelRatio < SMOOTH_BELOW;
  const smaller = viewport.scale * devicePixelRatio < 1;
  context.imageSmoothingQuality = smaller ? "medium" : "low"; // enlarged, "low" is bilinear and ten times as fast
  context.drawImage(picture, 0, 0, viewport.plane.width, viewport.plane.height);
}

function drawMask(context, matrix, object, slice) {
  const { doc } = state;
  const region = regionOn(object, doc.axis, slice);
  if (!region || !region.width) return;
  const { color } = doc.labels.get(object.key);
  const { canvas, path } = drawable(region, color);
  context.setTransform(matrix);
  context.globalAlpha = state.opacity;
  context.imageSmoothingEnabled = false;
  context.drawImage(canvas, region.left, region.top);
  context.globalAlpha = 1;
  context.setTransform(1, 0, 0, 1, 0, 0);
  const line = new Path2D();
  line.addPath(path, matrix);
  const selected = object.key === doc.selected;
  context.lineCap = "square";
  context.setLineDash([]);
  context.strokeStyle = "rgb(0 0 0 / 55%)";
  context.lineWidth = (selected ? 4 : 3) * devicePixelRatio;
  context.stroke(line);
  context.strokeStyle = color;
  context.lineWidth = (selected ? 2 : 1.25) * devicePixelRatio;
  context.stroke(line);
}

/** The box and the clicks of the selected object, and the box of one that waits for its mask. */
function drawPrompts(context, object) {
  const { doc } = state;
  const selected = object.key === doc.selected;
  const { color } = doc.labels.get(object.key);
  if (object.box && (selected || !object.regions.size)) {
    const { rectangle, first, last } = rectangleOf(doc.image, doc.plane, object.box);
    if (doc.slice >= first && doc.slice < last) {
      drawRectangle(context, rectangle, color, selected && !object.waiting ? [] : [5, 4]);
      if (selected && state.tool === "box" && object.axis === doc.axis) drawHandles(context, rectangle, color);
    }
  }
  if (!selected) return;
  for (const { point, label } of object.clicks) {
    const [u, v, slice] = pixelOf(doc.image, doc.plane, point);
    if (slice === doc.slice) drawClick(context, viewport.toScreen([u + 0.5, v + 0.5]), label);
  }
}

function onScreen([u0, v0, u1, v1]) {
  const [[x0, y0], [x1, y1]] = [viewport.toScreen([u0, v0]), viewport.toScreen([u1, v1])];
  return [Math.min(x0, x1), Math.min(y0, y1), Math.abs(x1 - x0), Math.abs(y1 - y0)];
}

function drawRectangle(context, rectangle, color, dash) {
  const place = onScreen(rectangle);
  context.setLineDash([]);
  context.lineWidth = 3;
  context.strokeStyle = "rgb(0 0 0 / 50%)";
  context.strokeRect(...place);
  context.setLineDash(dash);
  context.lineWidth = 1.5;
  context.strokeStyle = color;
  context.strokeRect(...place);
  context.setLineDash([]);
}

function drawHandles(context, rectangle, color) {
  const [x, y, width, height] = onScreen(rectangle);
  context.fillStyle = "#ffffff";
  context.strokeStyle = color;
  context.lineWidth = 1.5;
  for (const across of [0, 0.5, 1]) {
    for (const down of [0, 0.5, 1]) {
      if (across === 0.5 && down === 0.5) continue;
      const [left, top] = [x + across * width - HANDLE, y + down * height - HANDLE];
      context.fillRect(left, top, 2 * HANDLE, 2 * HANDLE);
      context.strokeRect(left, top, 2 * HANDLE, 2 * HANDLE);
    }
  }
}

function drawClick(context, [x, y], label) {
  context.beginPath();
  context.arc(x, y, 8, 0, 2 * Math.PI);
  context.fillStyle = label ? "#12804a" : "#c62828";
  context.fill();
  context.strokeStyle = "#ffffff";
  context.lineWidth = 1.5;
  context.stroke();
  context.beginPath();
  context.moveTo(x - 4, y);
  context.lineTo(x + 4, y);
  if (label) {
    context.moveTo(x, y - 4);
    context.lineTo(x, y + 4);
  }
  context.lineWidth = 2;
  context.stroke();
}

function drawCursor(context) {
  const [x, y] = viewport.toScreen([state.cursor[0] + 0.5, state.cursor[1] + 0.5]);
  for (const [color, width] of [
    ["rgb(0 0 0 / 70%)", 4],
    ["#ffffff", 1.5],
  ]) {
    context.beginPath();
    for (const [dx, dy] of [
      [1, 0],
      [-1, 0],
      [0, 1],
      [0, -1],
    ]) {
      context.moveTo(x + 5 * dx, y + 5 * dy);
      context.lineTo(x + 18 * dx, y + 18 * dy);
    }
    context.strokeStyle = color;
    context.lineWidth = width;
    context.stroke();
  }
}

function outlined(context, text, x, y, align) {
  context.font = "600 13px system-ui, sans-serif";
  context.textAlign = align;
  context.textBaseline = "middle";
  context.lineWidth = 3;
  context.strokeStyle = "rgb(0 0 0 / 75%)";
  context.strokeText(text, x, y);
  context.fillStyle = "#e8eef5";
  context.fillText(text, x, y);
}

/** Which side of the patient is where. */
function drawLetters(context) {
  const { letters } = viewport.plane;
  if (!letters) return;
  const { width, height } = viewport;
  outlined(context, letters[0], 14, height / 2, "center");
  outlined(context, letters[1], width - 14, height / 2, "center");
  outlined(context, letters[2], width / 2, 14, "center");
  outlined(context, letters[3], width / 2, height - 14, "center");
}

function drawScale(context) {
  const { mm } = viewport.plane;
  if (!mm) return;
  const pixelsForMm = viewport.scale / mm;
  const power = 10 ** Math.floor(Math.log10(120 / pixelsForMm));
  const length = [5, 2, 1].map((digit) => digit * power).find((own) => own * pixelsForMm <= 120) ?? power;
  const [x, y, size] = [16, viewport.height - 16, length * pixelsForMm];
  for (const [color, width] of [
    ["rgb(0 0 0 / 75%)", 4],
    ["#e8eef5", 2],
  ]) {
    context.beginPath();
    context.moveTo(x, y - 5);
    context.lineTo(x, y);
    context.lineTo(x + size, y);
    context.lineTo(x + size, y - 5);
    context.strokeStyle = color;
    context.lineWidth = width;
    context.stroke();
  }
  outlined(context, length >= 10 ? `${length / 10} cm` : `${Number(length.toPrecision(1))} mm`, x + 4, y - 14, "left");
}
