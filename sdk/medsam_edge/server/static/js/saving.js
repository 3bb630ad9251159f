// Saving on the server, and files to take away.

import * as api from "./api.js";
import { busily, chosen } from "./opening.js";
import { changed, state } from "./state.js";
import { complain, tell } from "./toast.js";

const KINDS = {
  png: "PNG label map",
  tif: "TIFF label map",
  "nii.gz": "NIfTI label map",
  nrrd: "NRRD label map",
  mha: "MetaImage label map",
  npz: "NumPy label map",
  dcm: "DICOM segmentation",
  coco: "COCO annotations (JSON)",
  rle: "Run lengths (JSON)",
  polygons: "Outlines as polygons (JSON)",
};
const OF_PICTURES = ["png", "tif", "npz", "coco", "rle", "polygons"];
const OF_VOLUMES = ["nii.gz", "nrrd", "mha", "npz", "coco", "rle", "polygons"];

/** Formats that suit an image: [name, what it is called]. */
export function formats({ image }) {
  const fit = image.volume || image.spacing_mm ? OF_VOLUMES : OF_PICTURES;
  const offered = state.server?.formats ?? [];
  const dicom = image.modality !== null; // which only a DICOM header says; a segmentation refers to its files
  return Object.entries(KINDS).filter(([name]) => offered.includes(name) && (name === "dcm" ? dicom : fit.includes(name)));
}

/** Save all objects of the image on the server; they survive its restart. */
export async function save() {
  const { doc } = state;
  if (!doc || !state.server.saves) return;
  const field = document.activeElement;
  if (field.matches("input")) field.blur(), field.focus(); // a name that is being typed counts
  const objects = chosen(doc);
  const answer = await busily("Saving …", () => api.save(doc.image.id, objects));
  if (!answer) return;
  doc.markSaved();
  doc.image = { ...doc.image, saved: true };
  tell(`Saved ${objects.length} ${objects.length === 1 ? "object" : "objects"} as ${answer.file}.`);
  changed();
}

/** Hand the objects to the browser's downloads. */
export async function download(format) {
  const { doc } = state;
  const file = await busily("Writing the file …", () => api.exported(doc.image.id, format, chosen(doc)));
  if (file) hand(file.name, file.content);
}

/** The canvas as it is, as a picture. */
export function downloadView(canvas) {
  const { image, slice } = state.doc;
  const name = `${image.name.split(".")[0]}${image.volume ? `-${slice}` : ""}-view.png`;
  canvas.toBlob((content) => (content ? hand(name, content) : complain(new Error("The view cannot be drawn."))));
}

function hand(name, content) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
