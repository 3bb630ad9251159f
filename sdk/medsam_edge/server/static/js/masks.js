// Masks from the server: run lengths to pixels and outlines.

/** Bytes, 1 inside; `counts` are runs in row order, background first. */
export function decoded({ width, height, counts }) {
  const pixels = new Uint8Array(width * height);
  let at = 0;
  counts.forEach((count, index) => {
    if (index % 2) pixels.fill(1, at, at + count);
    at += count;
  });
  return pixels;
}

/** The lines between inside and outside, in pixels of the slice. */
function outline(region) {
  const { top, left, width, height } = region;
  const pixels = decoded(region);
  const path = new Path2D();
  const inside = (row, column) =>
    row >= 0 && row < height && column >= 0 && column < width && pixels[row * width + column] === 1;
  const lines = (rows, columns, differs, line) => {
    for (let row = 0; row <= rows; row++) {
      for (let from = 0; from < columns; from++) {
        if (!differs(row, from)) continue;
        let to = from + 1;
        while (to < columns && differs(row, to)) to++;
        line(row, from, to);
        from = to;
      }
    }
  };
  lines(
    height,
    width,
    (row, column) => inside(row, column) !== inside(row - 1, column),
    (row, from, to) => {
      path.moveTo(left + from, top + row);
      path.lineTo(left + to, top + row);
    },
  );
  lines(
    width,
    height,
    (column, row) => inside(row, column) !== inside(row, column - 1),
    (column, from, to) => {
      path.moveTo(left + column, top + from);
      path.lineTo(left + column, top + to);
    },
  );
  return path;
}

const drawn = new WeakMap();

/** A mask ready to draw: a canvas filled with the colour, and its outline. */
export function drawable(region, color) {
  let own = drawn.get(region);
  if (!own) drawn.set(region, (own = { path: outline(region), color: null, canvas: null }));
  if (own.color !== color) {
    own.canvas = filled(region, color);
    own.color = color;
  }
  return own;
}

function filled(region, color) {
  const { width, height } = region;
  const canvas = new OffscreenCanvas(Math.max(1, width), Math.max(1, height));
  if (!width) return canvas;
  const value = parseInt(color.slice(1), 16);
  const [red, green, blue] = [value >> 16, (value >> 8) & 255, value & 255];
  const data = new ImageData(width, height);
  decoded(region).forEach((inside, at) => {
    if (inside) data.data.set([red, green, blue, 255], 4 * at);
  });
  canvas.getContext("2d").putImageData(data, 0, 0);
  return canvas;
}

/** Whether a pixel of the slice is inside. */
export function contains(region, [u, v]) {
  const [column, row] = [Math.floor(u) - region.left, Math.floor(v) - region.top];
  if (column < 0 || row < 0 || column >= region.width || row >= region.height) return false;
  let at = row * region.width + column;
  for (let index = 0; index < region.counts.length; index++) {
    if (at < region.counts[index]) return index % 2 === 1;
    at -= region.counts[index];
  }
  return false;
}
