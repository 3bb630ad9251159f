// What a user does to objects. An object appears at once, waiting; the server's answer takes its place.

import * as api from "./api.js";
import { boxOn, planeOf, pointOn, rectangleOf } from "./plane.js";
import { changed, COLORS, state } from "./state.js";
import { announce, complain, tell } from "./toast.js";

/**
 * An object: never changed, only replaced. Its name and colour are the document's.
 *
 * key: stays through corrections. axis: of its slices. box, clicks, score, size: as the server says them. segmentation,
 * index: where the server keeps it; null before its first answer. regions: mask by slice. waiting: an answer is due.
 * job: the background job, if any. ready: a promise of the object once nothing is due, null if it came to nothing.
 */
function fieldsOf(info, index = 0) {
  for (const text of info.warnings) state.docs.get(info.image)?.warn(text);
  const { box, clicks, score, size, regions } = info.objects[index];
  return {
    segmentation: info.id,
    index,
    axis: info.axis,
    box,
    clicks,
    score,
    size,
    regions: new Map(regions.map((region) => [region.slice, region])),
  };
}

/** An object as a saved one, or one of a former session, comes back. */
export function restored(doc, { name, color }, info, index = 0) {
  const object = { ...fresh(doc, name, color), ...fieldsOf(info, index), waiting: false };
  object.ready = Promise.resolve(object);
  return object;
}

function fresh(doc, name, color) {
  const key = `object-${++doc.made}`;
  doc.labels.set(key, {
    name: name || `Object ${doc.made}`,
    color: color || COLORS[(doc.made - 1) % COLORS.length],
  });
  const none = { segmentation: null, index: 0, box: null, clicks: [], score: null, size: 0, job: null };
  return { key, axis: doc.axis, regions: new Map(), waiting: true, ready: null, ...none };
}

/** Put an object (instead of `before`, if any) into the list and let `work` fill it. */
function launch(doc, before, object, work) {
  const started = performance.now();
  let timed = false;
  let current = object;
  const put = (fields) => {
    const next = { ...current, ...fields };
    if (fields.regions && !timed) {
      timed = true;
      state.arrived = started;
    }
    doc.history.replace(current, next);
    current = next;
    changed();
  };
  const finish = async () => {
    try {
      put({ ...(await work(put)), waiting: false, job: null });
      announce(`${nameIn(doc, current)}: ${described(current)}`);
      if (!current.size) tell(`${nameIn(doc, current)}: nothing was found. Try a closer box, or a click on the object.`);
      return current;
    } catch (error) {
      const former = before && (await before.ready);
      doc.history.replace(current, former);
      complain(error);
      changed();
      return former;
    }
  };
  object.ready = finish();
  const objects = doc.objects;
  doc.history.push(before ? objects.map((own) => (own === before ? object : own)) : [...objects, object]);
  doc.selected = object.key;
  doc.hidden.delete(object.key);
  changed();
}

const nameIn = (doc, object) => doc.labels.get(object.key).name;

export function described(object) {
  const score = object.score === null ? "" : `, score ${object.score.toFixed(2)}`;
  return `${object.size.toLocaleString("en")} ${object.regions.size > 1 ? "voxels" : "pixels"}${score}`;
}

/** A new object in a rectangle [u0, v0, u1, v1] of the slice at hand. */
export function addBox(rectangle) {
  const { doc } = state;
  addBoxOf(boxOn(doc.image, doc.plane, doc.slice, rectangle));
}

/** A new object in a box of the image. */
export function addBoxOf(box) {
  const { doc } = state;
  launch(doc, null, { ...fresh(doc), box }, (put) => segmented(doc, { axis: doc.axis, boxes: [box] }, put));
}

/** Another box for an object; the clicks of a picture stay. */
export function moveBox(object, box) {
  const { doc } = state;
  const clicks = doc.image.volume ? [] : object.clicks;
  cancel(object);
  launch(doc, object, { ...object, box, clicks, waiting: true, job: null }, (put) =>
    segmented(doc, { axis: object.axis, boxes: [box], ...rowOf(clicks) }, put),
  );
}

/** A click on the selected object, or, where none is, a new object from a click alone. */
export function click(pixel, label) {
  const { doc } = state;
  const point = pointOn(doc.image, doc.plane, doc.slice, pixel);
  const one = { point, label };
  const before = doc.object;
  if (!before) {
    if (!label) return tell("Select an object first: a background click corrects one.");
    return launch(doc, null, { ...fresh(doc), clicks: [one] }, (put) => segmented(doc, { axis: doc.axis, ...rowOf([one]) }, put));
  }
  const clicks = [...before.clicks, one];
  launch(doc, before, { ...before, clicks, waiting: true, job: null }, async (put) => {
    const former = await before.ready;
    if (!former) throw new Error("The object that was to be corrected is gone.");
    const background = doc.image.volume;
    const answer = await api.refine(former.segmentation, { ...rowsFor(former, one), background });
    return background ? await watched(answer, put) : fieldsOf(answer, former.index);
  });
}

const rowOf = (clicks) =>
  clicks.length ? { points: [clicks.map(({ point }) => point)], point_labels: [clicks.map(({ label }) => label)] } : {};

/** Rows of clicks for all objects of a segmentation, empty but for one. */
function rowsFor(object, { point, label }) {
  const rows = (own) => Array.from({ length: object.index + 1 }, (_, at) => (at === object.index ? own : []));
  return { points: rows([point]), point_labels: rows([label]) };
}

/** Segment; in a volume the slice first, then, if so chosen, the whole object. */
async function segmented(doc, prompts, put) {
  const request = { ...doc.shown, ...prompts };
  const thick = prompts.boxes && doc.image.volume && thickness(doc.image, prompts.axis, prompts.boxes[0]) > 1;
  if (!doc.image.volume) return fieldsOf(await api.segment(doc.image.id, request));
  if (thick || !prompts.boxes) return watched(await api.segment(doc.image.id, { ...request, background: true }), put);
  const first = fieldsOf(await api.segment(doc.image.id, request));
  if (!state.follow) return first;
  put(first);
  return followed(doc, request, put);
}

/** Slices of a volume's box. */
export function thickness(image, axis, box) {
  const { first, last } = rectangleOf(image, planeOf(image, axis), box);
  return last - first;
}

/** The object through all slices. What was found on the first one stays if this fails. */
async function followed(doc, request, put) {
  try {
    return await watched(await api.segment(doc.image.id, { ...request, follow: true, background: true }), put);
  } catch (error) {
    complain(error);
    return {};
  }
}

/** Follow a one-slice object through the other slices now. */
export function follow(object) {
  const { doc } = state;
  launch(doc, object, { ...object, waiting: true }, (put) =>
    api
      .segment(doc.image.id, { ...doc.shown, axis: object.axis, boxes: [object.box], follow: true, background: true })
      .then((job) => watched(job, put)),
  );
}

/** Wait for a job and give its object. Raises AbortError where it was cancelled. */
async function watched(job, put) {
  let now = job;
  put({ job: now });
  for await (now of api.events(job.id)) put({ job: now });
  if (now.state === "failed") throw new api.Refused(422, now.problem.detail, now.problem.type);
  if (now.state !== "done") throw new DOMException("The job was cancelled.", "AbortError");
  return fieldsOf(await api.segmentation(now.segmentation));
}

export function cancel(object) {
  if (object.job) api.cancel(object.job.id).catch(complain);
}

export function remove(object) {
  const { doc } = state;
  cancel(object);
  const at = doc.objects.indexOf(object);
  doc.history.push(doc.objects.filter((own) => own !== object));
  if (doc.selected === object.key) doc.selected = (doc.objects[at] ?? doc.objects.at(-1))?.key ?? null;
  announce(`${nameIn(doc, object)} deleted`);
  changed();
}

/** Give an object another name or colour. */
export function label(object, fields) {
  const { doc } = state;
  doc.labels.set(object.key, { ...doc.labels.get(object.key), ...fields });
  doc.edits++;
  changed();
}

export function undo() {
  state.doc?.history.undo();
  announce("Undone");
  changed();
}

export function redo() {
  state.doc?.history.redo();
  announce("Done again");
  changed();
}

export function select(key) {
  state.doc.selected = key;
  changed();
}

export function toggle(object) {
  const { hidden } = state.doc;
  if (!hidden.delete(object.key)) hidden.add(object.key);
  changed();
}
