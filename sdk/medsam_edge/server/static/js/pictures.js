// Slices as pictures: fetched once, kept for a while, the one on screen first. Also tells the server what to encode.

import * as api from "./api.js";
import { changed, state } from "./state.js";
import { complain } from "./toast.js";

const KEPT = 96;
const AHEAD = 3;
const REST_MS = 120;

const kept = new Map();
let fetching = null;
let last = null;
let embedding = null;
let resting = 0;

const keyOf = (doc, slice) => [doc.image.id, doc.axis, slice, doc.modality, doc.window].join(" ");

/**
 * The picture of the slice at hand and its number. Until it is there: the last one of the same plane, so that nothing
 * flickers and masks are drawn on the slice that they belong to. Null where there is none.
 */
export function pictureNow() {
  const { doc } = state;
  if (!doc) return null;
  const key = keyOf(doc, doc.slice);
  const place = `${doc.image.id} ${doc.axis}`;
  if (kept.has(key)) last = { key, place, slice: doc.slice };
  if (last?.place !== place || !kept.has(last.key)) return null;
  return { picture: kept.get(last.key), slice: last.slice };
}

/** Fetch the slice at hand and then its neighbours; those of another one that are not fetched yet are given up. */
export async function fetchPictures() {
  const { doc } = state;
  if (!doc) return;
  const wanted = keyOf(doc, doc.slice);
  if (fetching) {
    fetching.again = fetching.wanted !== wanted;
    return;
  }
  const own = (fetching = { wanted, again: false });
  const { slice, plane } = doc;
  const near = [0];
  for (let step = 1; step <= AHEAD && plane.depth > 1; step++) near.push(step, -step);
  try {
    for (const step of near) {
      const number = slice + step;
      if (number < 0 || number >= plane.depth) continue;
      const isNew = await fetchOne(doc, number);
      if (isNew && number === doc.slice) changed(); // else the page would draw in every frame
      if (own.again || state.doc !== doc) break;
    }
  } catch (error) {
    complain(error);
  } finally {
    fetching = null;
    if (own.again || state.doc !== doc) fetchPictures();
  }
}

/** Fetch a picture unless it is kept; whether it was fetched. */
async function fetchOne(doc, slice) {
  const key = keyOf(doc, slice);
  const known = kept.get(key);
  if (known) {
    kept.delete(key);
    kept.set(key, known); // the newest stays longest
    return false;
  }
  const { axis, modality, window } = doc;
  kept.set(key, await api.picture(doc.image.id, slice, { axis, modality, window }));
  for (const [old, own] of kept) {
    if (kept.size <= KEPT) break;
    own.close();
    kept.delete(old);
  }
  return true;
}

/** Once the slice rests: have it encoded, so that the first box on it is answered fast. */
export function encodeAhead() {
  const { doc } = state;
  if (!doc) return;
  const { axis, slice, image } = doc;
  const request = { ...doc.shown, axis, slice };
  const wanted = JSON.stringify([image.id, request]);
  if (wanted === embedding) return;
  embedding = wanted;
  clearTimeout(resting);
  resting = setTimeout(async () => {
    try {
      const answer = await api.embed(image.id, request);
      doc.recognised = doc.modality ? null : answer;
      changed();
    } catch (error) {
      if (embedding === wanted) complain(error);
    }
  }, REST_MS);
}
