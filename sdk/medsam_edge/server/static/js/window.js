// Window and level: which values are black and which white.

import { changed, state } from "./state.js";

const ACROSS = 400; // screen pixels over which a drag goes through the whole range

/** [level, width] as shown; where the modality's rule decides, the numbers nearest to it. */
export function windowNow(doc) {
  if (doc.window) return doc.window;
  if (doc.image.dtype === "uint8") return [127.5, 255];
  if (doc.modality === "CT") return state.server.windows["soft-tissue"];
  const [low, high] = doc.image.range;
  return [(low + high) / 2, Math.max(high - low, Number.EPSILON)];
}

/** Set level and width; null for the modality's rule. A colour image has none. */
export function setWindow(window) {
  const { doc } = state;
  if (!doc || doc.image.color) return;
  doc.window = window && [tidy(window[0]), Math.max(tidy(window[1]), least(doc))];
  changed();
}

/** Move the level (down is darker) and the width (right is softer) by screen pixels. */
export function shiftWindow(down, right) {
  const { doc } = state;
  if (!doc || doc.image.color) return;
  const [level, width] = windowNow(doc);
  const step = width / ACROSS;
  setWindow([level - 2 * down * step, width * (1 + (2 * right) / ACROSS)]);
}

const tidy = (value) => Number(value.toPrecision(5));
const least = ({ image }) => (image.dtype.startsWith("float") ? (image.range[1] - image.range[0]) / 1000 || 1e-6 : 1);
