// A slice and its image: which axis runs where, how far apart pixels are, and which way is up.
// Pure functions. An image's axes are x, y, z (0, 1, 2); its shape is [H, W] or [D, H, W].

const SIDES = [
  { u: 0, v: 1, k: 2 }, // slices along z: columns are x, rows y
  { u: 0, v: 2, k: 1 }, // along y: columns x, rows z
  { u: 1, v: 2, k: 0 }, // along x: columns y, rows z
];
const LETTERS = [
  ["R", "L"],
  ["A", "P"],
  ["I", "S"],
];
const NAMES = ["Sagittal", "Coronal", "Axial"];

/**
 * The plane of slices along an array axis (0, 1, 2; a picture has 0).
 *
 * `stepU` and `stepV` are the sides of a pixel, the smaller one 1. `flipU` and `flipV` turn a patient the way doctors look
 * at one, where the file says how he lies. `letters` are the patient's sides at left, right, top and bottom.
 */
export function planeOf(image, axis) {
  const size = [...image.shape].reverse();
  const { u, v, k } = SIDES[axis];
  const spacing = image.spacing_mm;
  const step = (side) => (spacing && image.volume ? spacing[side] : (spacing?.[side] ?? 1));
  const least = Math.min(step(u), step(v));
  const oriented = image.volume && image.direction?.length === 9 ? image.direction : null;
  const along = (side) => patientAxis(oriented, side);
  const flip = (side, wanted) => oriented !== null && along(side).sign !== wanted;
  const flipU = flip(u, 1);
  const flipV = oriented ? flip(v, along(v).axis === 2 ? -1 : 1) : image.volume && v === 2;
  const ends = (side, flipped) => {
    const { axis: own, sign } = along(side);
    const [low, high] = sign > 0 ? LETTERS[own] : [...LETTERS[own]].reverse();
    return flipped ? [high, low] : [low, high];
  };
  return {
    axis,
    u,
    v,
    k,
    width: size[u],
    height: size[v],
    depth: size[k] ?? 1,
    stepU: step(u) / least,
    stepV: step(v) / least,
    mm: spacing ? least : null,
    flipU,
    flipV,
    name: oriented ? NAMES[along(k).axis] : ["Axial", "Coronal", "Sagittal"][axis],
    letters: oriented ? [...ends(u, flipU), ...ends(v, flipV)] : null,
  };
}

/** The patient's axis (0 to the left, 1 to the back, 2 to the head) that an image axis follows most, and its sign. */
function patientAxis(direction, side) {
  if (direction === null) return { axis: side, sign: 1 };
  const column = [0, 1, 2].map((row) => direction[3 * row + side]);
  const axis = column.reduce((best, value, at) => (Math.abs(value) > Math.abs(column[best]) ? at : best), 0);
  return { axis, sign: Math.sign(column[axis]) };
}

/** A rectangle [u0, v0, u1, v1] on a slice as a box of the image: four numbers of a picture, six of a volume. */
export function boxOn(image, plane, slice, [u0, v0, u1, v1]) {
  if (!image.volume) return [u0, v0, u1, v1];
  const low = [];
  const high = [];
  [low[plane.u], low[plane.v], low[plane.k]] = [u0, v0, slice];
  [high[plane.u], high[plane.v], high[plane.k]] = [u1, v1, slice + 1];
  return [...low, ...high];
}

/** A box as a rectangle of the plane, and the slices [first, last) on which it lies. */
export function rectangleOf(image, plane, box) {
  if (!image.volume) return { rectangle: box, first: 0, last: 1 };
  return {
    rectangle: [box[plane.u], box[plane.v], box[3 + plane.u], box[3 + plane.v]],
    first: box[plane.k],
    last: box[3 + plane.k],
  };
}

/** A pixel of a slice as a point of the image. */
export function pointOn(image, plane, slice, [u, v]) {
  if (!image.volume) return [u, v];
  const point = [];
  [point[plane.u], point[plane.v], point[plane.k]] = [u, v, slice];
  return point;
}

/** A point of the image as a pixel of the plane, and its slice. */
export function pixelOf(image, plane, point) {
  return image.volume ? [point[plane.u], point[plane.v], point[plane.k]] : [point[0], point[1], 0];
}

/** The slices [first, last] of a plane on which an object is, or null where it is nowhere. */
export function extentOf(object, plane) {
  if (!object.regions.size) return null;
  if (object.axis === plane.axis) {
    const slices = [...object.regions.keys()];
    return [Math.min(...slices), Math.max(...slices)];
  }
  const own = SIDES[object.axis];
  const regions = [...object.regions.values()];
  const ends = own.u === plane.k ? ["left", "width"] : ["top", "height"];
  return [
    Math.min(...regions.map((region) => region[ends[0]])),
    Math.max(...regions.map((region) => region[ends[0]] + region[ends[1]] - 1)),
  ];
}
