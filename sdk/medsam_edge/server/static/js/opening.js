// Opening images: uploads, files of the served folder, what was open before a reload.

import { restored } from "./acts.js";
import * as api from "./api.js";
import { changed, Doc, state, viewport } from "./state.js";
import { announce, complain, tell } from "./toast.js";

const DRAFTS = "medsam-edge-drafts";
const LAST = "medsam-edge-image";

/** Do something that takes long, with a sentence for who waits. */
export async function busily(text, work) {
  state.busy = text;
  changed();
  try {
    return await work();
  } catch (error) {
    complain(error);
    return null;
  } finally {
    state.busy = null;
    changed();
  }
}

/** Open a file of the served folder. */
export const openServed = (file) => busily(`Opening ${file} …`, async () => show(await api.open(file), file));

/** Upload what a user chose or dropped: pictures and volumes one by one, the rest as one DICOM series. */
export async function openFiles(files) {
  for (const group of groups([...files])) {
    const bytes = group.reduce((sum, file) => sum + file.size, 0);
    const most = state.server?.upload_bytes ?? Infinity;
    if (bytes > most) {
      complain(new api.Refused(413, `${group[0].name} has ${mib(bytes)}; the server takes ${mib(most)} at most.`));
      continue;
    }
    const name = group.length > 1 ? `${group.length} files` : group[0].name;
    await busily(`Opening ${name} …`, async () => show(await api.upload(group)));
  }
}

const mib = (bytes) => `${Math.ceil(bytes / 2 ** 20)} MiB`;

function groups(files) {
  const named = (suffix) => (file) => file.name.toLowerCase().endsWith(suffix);
  if (files.length < 2 || files.some(named(".mhd"))) return files.length ? [files] : [];
  const whole = (state.server?.suffixes ?? []).filter((suffix) => suffix !== ".dcm");
  const single = files.filter((file) => whole.some((suffix) => named(suffix)(file)));
  const rest = files.filter((file) => !single.includes(file));
  return [...single.map((file) => [file]), ...(rest.length ? [rest] : [])];
}

/** A synthetic image of the package, for who has none at hand. */
export const openExample = (name, modality) =>
  busily("Opening the example …", async () => {
    const response = await fetch(`/static/examples/${name}`);
    await show(await api.upload([new File([await response.blob()], name)]));
    state.doc.modality ??= modality;
    changed();
  });

/** Put an image on the canvas, with the objects it had in this session, or those that were saved. */
async function show(image, file = null) {
  let doc = state.docs.get(image.id);
  const known = doc !== undefined;
  if (!known) state.docs.set(image.id, (doc = new Doc(image)));
  doc.file ??= file;
  state.doc = doc;
  state.drawing = state.corner = state.cursor = null;
  sessionStorage.setItem(LAST, image.id);
  viewport.show(doc.plane, false);
  for (const text of known ? [] : image.warnings) doc.warn(text);
  announce(`${image.name} opened, ${image.shape.join(" by ")}`);
  document.title = `${image.name} – medsam-edge`;
  changed();
  if (!known) await fill(doc);
}

async function fill(doc) {
  const draft = drafts()[doc.image.id];
  try {
    if (draft) {
      doc.modality = draft.modality;
      doc.window = draft.window;
      const infos = await Promise.all(draft.objects.map((own) => api.segmentation(own.segmentation)));
      put(doc, draft.objects, infos);
      if (draft.saved) doc.markSaved();
      return;
    }
  } catch (error) {
    if (error.status !== 404) throw error;
    if (!draft.saved) doc.warn("The server has forgotten what was not saved: it was restarted, or short of memory.");
  }
  if (!doc.image.saved) return;
  const { objects, segmentations } = await api.saved(doc.image.id);
  put(doc, objects, segmentations);
  doc.markSaved();
  if (objects.length) tell(`${objects.length} saved ${objects.length > 1 ? "objects" : "object"} found.`);
}

function put(doc, objects, infos) {
  if (!objects.length) return;
  doc.history.push(objects.map((own, at) => restored(doc, own, infos[at], own.index)));
  doc.selected = doc.objects.at(-1).key;
  changed();
}

const drafts = () => JSON.parse(sessionStorage.getItem(DRAFTS) ?? "{}");

/** The objects as the server's calls name them; those that wait for their first answer are left out. */
export const chosen = (doc) =>
  doc.objects
    .filter((own) => own.segmentation)
    .map(({ key, segmentation, index }) => ({ segmentation, index, ...doc.labels.get(key) }));

let kept = "";

/** Keep what is not saved for a reload of the page; the masks are the server's to keep. */
export function keepDraft() {
  const { doc } = state;
  if (!doc) return;
  const draft = { objects: chosen(doc), modality: doc.modality, window: doc.window, saved: !doc.dirty };
  const text = JSON.stringify(draft);
  if (text === kept) return;
  kept = text;
  sessionStorage.setItem(DRAFTS, JSON.stringify({ ...drafts(), [doc.image.id]: draft }));
}

/** After a reload: the image that was open. Else the only file that is served. */
export async function reopen() {
  const id = sessionStorage.getItem(LAST);
  if (id) {
    const image = await api.image(id).catch((error) => {
      if (error.status !== 404) throw error;
      return null;
    });
    if (image) return show(image);
  }
  if (state.files.length === 1) await openServed(state.files[0].file);
}

/** The next or former file of the served folder. */
export function step(by) {
  const at = state.files.findIndex(({ file }) => file === state.doc?.file);
  const next = state.files[at < 0 ? 0 : at + by];
  if (next) openServed(next.file);
}

/** All files of what was dropped, those inside folders too. */
export async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
  return (await Promise.all(entries.map(filesOf))).flat();
}

async function filesOf(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader();
  const inside = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) break;
    inside.push(...some);
  }
  return (await Promise.all(inside.map(filesOf))).flat();
}
