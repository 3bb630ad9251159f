// The server's REST API: one function a call. Every call carries the token; a busy server is asked again.

const TOKEN = "medsam-edge-token";
const TRIES = 8;

/** The server, or the network, refused a call; the message is for people. */
export class Refused extends Error {
  constructor(status, detail, type) {
    super(detail);
    this.status = status;
    this.type = type;
  }
}

const client = sessionStorage.getItem("medsam-edge-client") ?? crypto.randomUUID();
sessionStorage.setItem("medsam-edge-client", client);

/** Move the token from the address to the session's storage, so that it does not stay in the history. */
export function takeToken() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token) {
    setToken(token);
    history.replaceState(null, "", location.pathname);
  }
}

export function setToken(token) {
  sessionStorage.setItem(TOKEN, token);
}

async function call(method, path, { json, body } = {}) {
  const headers = { Authorization: `Bearer ${sessionStorage.getItem(TOKEN) ?? ""}`, "X-Client": client };
  if (json !== undefined) headers["Content-Type"] = "application/json";
  for (let tried = 1; ; tried++) {
    let response;
    try {
      response = await fetch(`/api/v1/${path}`, {
        method,
        headers,
        body: json === undefined ? body : JSON.stringify(json),
      });
    } catch {
      throw new Refused(0, "The server does not answer. Is it still running?", "NetworkError");
    }
    if (response.ok) return response;
    const busy = response.status === 429 || response.status === 503;
    if (!busy || tried === TRIES) throw await refused(response);
    await new Promise((resolve) => setTimeout(resolve, 1000 * (Number(response.headers.get("Retry-After")) || 1)));
  }
}

async function refused(response) {
  const problem = await response.json().catch(() => ({}));
  return new Refused(response.status, problem.detail ?? `The server answered ${response.status}.`, problem.type ?? "");
}

const asJson = async (response) => (await response).json();
const query = (given) =>
  new URLSearchParams(Object.entries(given).filter(([, value]) => value !== null && value !== undefined));

export const server = () => asJson(call("GET", "server"));
export const files = () => asJson(call("GET", "files"));
export const image = (id) => asJson(call("GET", `images/${id}`));
export const open = (file) => asJson(call("POST", "images/open", { json: { file } }));
export const embed = (id, request) => asJson(call("POST", `images/${id}/embed`, { json: request }));
export const segment = (id, request) => asJson(call("POST", `images/${id}/segmentations`, { json: request }));
export const refine = (id, request) => asJson(call("POST", `segmentations/${id}/refine`, { json: request }));
export const segmentation = (id) => asJson(call("GET", `segmentations/${id}`));
export const cancel = (job) => asJson(call("DELETE", `jobs/${job}`));
export const save = (id, objects) => asJson(call("PUT", `images/${id}/saved`, { json: { objects } }));
export const saved = (id) => asJson(call("GET", `images/${id}/saved`));

/** Upload one image file, or the files of one DICOM series. */
export function upload(files) {
  const form = new FormData();
  for (const file of files) form.append("files", file, file.name);
  return asJson(call("POST", "images", { body: form }));
}

/** One slice as the window shows it; decoded, ready to draw. */
export async function picture(id, slice, { axis, modality, window }) {
  const asked = query({ axis, modality, window: window?.join(",") });
  const response = await call("GET", `images/${id}/slices/${slice}.png?${asked}`);
  return createImageBitmap(await response.blob());
}

/** The mask of an object on a slice along any axis; null where it is not there. */
export async function section(segmentation, index, slice, axis) {
  const objects = await asJson(call("GET", `segmentations/${segmentation}/slices/${slice}?axis=${axis}`));
  return objects[index].region;
}

/** Objects as a file: its name and its content. */
export async function exported(id, format, objects) {
  const response = await call("POST", `images/${id}/export`, { json: { format, objects } });
  const name = /filename="([^"]+)"/.exec(response.headers.get("Content-Disposition") ?? "")?.[1];
  return { name: name ?? `labels.${format}`, content: await response.blob() };
}

/** The states of a job, from now to its last one. */
export async function* events(job) {
  const response = await call("GET", `jobs/${job}/events`);
  let text = "";
  for await (const chunk of texts(response.body)) {
    const blocks = (text + chunk).split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const data = block.split("\n").find((line) => line.startsWith("data: "));
      if (data) yield JSON.parse(data.slice(6));
    }
  }
}

async function* texts(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (let { done, value } = await reader.read(); !done; { done, value } = await reader.read()) yield value;
}
