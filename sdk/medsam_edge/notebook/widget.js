// The widget of `medsam_edge.notebook.draw`: the image, boxes by drag, and a list of them. anywidget calls `render`.

const COLORS = ["#ff5a5f", "#3ddc97", "#4da3ff", "#ffb400", "#c77dff", "#00d4d4", "#ff8cc6", "#b6e32e"];
const WIDEST = 640;
const STILL = 3;

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** A rectangle [u0, v0, u1, v1] of the slice at hand as a row of `boxes`. */
function rowOf(model, [u0, v0, u1, v1]) {
  const sides = model.get("sides");
  if (!sides.length) return [u0, v0, u1, v1];
  const row = [];
  const slice = model.get("slice");
  [row[sides[0]], row[sides[1]], row[sides[2]]] = [u0, v0, slice];
  [row[3 + sides[0]], row[3 + sides[1]], row[3 + sides[2]]] = [u1, v1, slice + 1];
  return row;
}

/** A row as a rectangle; null where it is on another slice. */
function rectangleOf(model, row) {
  const [across, down, through] = model.get("sides");
  if (across === undefined) return row;
  if (model.get("slice") !== row[through]) return null;
  return [row[across], row[down], row[3 + across], row[3 + down]];
}

function render({ model, el }) {
  const canvas = element("canvas", { tabIndex: 0 });
  canvas.setAttribute("role", "img");
  const slider = element("input", { type: "range", min: 0, max: model.get("slices") - 1 });
  slider.setAttribute("aria-label", "Slice");
  const shown = element("output");
  const list = element("ol");
  const slices = element("div", { className: "slices" }, slider, shown);
  el.classList.add("medsam-edge-draw");
  el.append(canvas, slices, list);
  slices.hidden = model.get("slices") < 2;

  let picture = null;
  let drawing = null;
  let start = null;

  const scale = () => canvas.clientWidth / picture.width;
  const place = (event) => {
    const [u, v] = [event.offsetX / scale(), event.offsetY / (scale() * model.get("aspect"))];
    return [Math.min(picture.width, Math.max(0, u)), Math.min(picture.height, Math.max(0, v))];
  };

  async function load() {
    picture = await createImageBitmap(new Blob([model.get("picture")], { type: "image/png" }));
    canvas.style.width = `${Math.min(WIDEST, Math.max(256, 2 * picture.width))}px`;
    canvas.style.aspectRatio = `${picture.width} / ${picture.height * model.get("aspect")}`;
    draw();
  }

  function draw() {
    if (!picture) return;
    const ratio = devicePixelRatio;
    canvas.width = Math.round(canvas.clientWidth * ratio);
    canvas.height = Math.round(canvas.clientHeight * ratio);
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(picture, 0, 0, canvas.width, canvas.height);
    const rows = model.get("rows");
    rows.forEach((row, at) => {
      const rectangle = rectangleOf(model, row);
      if (rectangle) frame(context, rectangle, COLORS[at % COLORS.length]);
    });
    if (drawing) frame(context, drawing, "#ffffff");
    canvas.setAttribute("aria-label", `Image with ${rows.length} boxes; drag to draw one`);
    slider.value = model.get("slice");
    shown.textContent = `slice ${model.get("slice") + 1} of ${model.get("slices")}`;
  }

  function frame(context, [u0, v0, u1, v1], color) {
    const [across, down] = [canvas.width / picture.width, canvas.height / picture.height];
    const sides = [u0 * across, v0 * down, (u1 - u0) * across, (v1 - v0) * down];
    for (const [style, width] of [["rgb(0 0 0 / 60%)", 4], [color, 2]]) {
      context.strokeStyle = style;
      context.lineWidth = width * devicePixelRatio;
      context.strokeRect(...sides);
    }
  }

  function write() {
    const rows = model.get("rows");
    list.replaceChildren(
      ...rows.map((row, at) => {
        const name = `Delete box ${at + 1}`;
        const button = element("button", { type: "button", textContent: "×", title: name });
        button.setAttribute("aria-label", name);
        button.onclick = () => put(rows.filter((_, other) => other !== at));
        const mark = element("span", { className: "mark" });
        mark.style.background = COLORS[at % COLORS.length];
        return element("li", {}, mark, element("code", { textContent: row.join(", ") }), button);
      }),
    );
    draw();
  }

  function put(rows) {
    model.set("rows", rows);
    model.save_changes();
  }

  function goTo(slice) {
    model.set("slice", Math.min(model.get("slices") - 1, Math.max(0, slice)));
    model.save_changes();
  }

  canvas.onpointerdown = (event) => {
    if (event.button !== 0 || !picture) return;
    canvas.setPointerCapture(event.pointerId);
    start = { place: place(event), x: event.offsetX, y: event.offsetY };
  };
  canvas.onpointermove = (event) => {
    if (!start) return;
    const [[u0, v0], [u1, v1]] = [start.place, place(event)];
    const moved = Math.hypot(event.offsetX - start.x, event.offsetY - start.y) > STILL;
    if (moved || drawing) {
      drawing = [Math.min(u0, u1), Math.min(v0, v1), Math.max(u0, u1), Math.max(v0, v1)].map(Math.round);
    }
    draw();
  };
  canvas.onpointerup = () => {
    const drawn = drawing;
    start = drawing = null;
    if (drawn && drawn[2] > drawn[0] && drawn[3] > drawn[1]) put([...model.get("rows"), rowOf(model, drawn)]);
    else draw();
  };
  canvas.onpointercancel = () => {
    start = drawing = null;
    draw();
  };
  canvas.onkeydown = (event) => {
    if (event.key === "PageDown") goTo(model.get("slice") + 1);
    else if (event.key === "PageUp") goTo(model.get("slice") - 1);
    else if (event.key === "Delete" || event.key === "Backspace") put(model.get("rows").slice(0, -1));
    else return;
    event.preventDefault();
    event.stopPropagation(); // a notebook has keys of its own
  };
  slider.oninput = () => goTo(Number(slider.value));

  model.on("change:picture", load);
  model.on("change:slice", draw); // slices that are all alike bring no new picture
  model.on("change:rows", write);
  const watch = new ResizeObserver(draw);
  watch.observe(canvas);
  load();
  write();
  return () => {
    watch.disconnect();
    model.off("change:picture", load);
    model.off("change:slice", draw);
    model.off("change:rows", write);
  };
}

export default { render };
