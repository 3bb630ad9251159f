// An object's mask on the slice at hand: its own, or across its slices, which the server cuts.

import * as api from "./api.js";
import { changed } from "./state.js";
import { complain } from "./toast.js";

const KEPT = 500;
const known = new Map();

/** A region, or null where the object is not on the slice, or is not known to be yet. */
export function regionOn(object, axis, slice) {
  if (object.axis === axis) return object.regions.get(slice) ?? null;
  if (!object.segmentation) return null;
  const key = [object.segmentation, object.index, axis, slice].join(" ");
  if (!known.has(key)) {
    known.set(key, null);
    if (known.size > KEPT) known.delete(known.keys().next().value);
    api.section(object.segmentation, object.index, slice, axis).then((region) => {
      known.set(key, region);
      changed();
    }, complain);
  }
  return known.get(key);
}
