// The panel of the objects: a list, and what one can do with the selected one.

import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { html, nothing, render } from "../vendor/lit-html/lit-html.js";
import { addBoxOf, cancel, follow, label, moveBox, remove, select, thickness, toggle } from "./acts.js";
import { icon, iconButton } from "./icons.js";
import { boxOn, extentOf, rectangleOf } from "./plane.js";
import { changed, goTo, state } from "./state.js";

export function drawObjectsPanel() {
  const { doc } = state;
  render(
    doc
      ? html`
          <div class="heading">
            <h2>Objects</h2>
            <button type="button" class="quiet" @click=${() => openNumbers(null)}>${icon("plus")} Box in numbers</button>
          </div>
          ${doc.image.volume ? following() : nothing}
          ${doc.objects.length ? list(doc) : hint(doc)} ${doc.objects.length ? opacity() : nothing}
        `
      : nothing,
    document.getElementById("objects"),
  );
}

const hint = ({ image }) => html`
  <p class="hint large">
    Drag a box around an object${image.volume ? ", on a slice where it is large and clear" : ""}. Then correct the mask:
    <b>Add</b> where something is missing, <b>Take away</b> where it is too much.
  </p>
`;

const following = () => html`
  <label class="check">
    <input
      type="checkbox"
      id="follow"
      .checked=${state.follow}
      @change=${(event) => {
        state.follow = event.target.checked;
        changed();
      }}
    />
    <span>Follow a new object through the slices</span>
  </label>
`;

const opacity = () => html`
  <label class="row">
    <span>Fill</span>
    <input
      type="range"
      min="0"
      max="1"
      step="0.05"
      .value=${String(state.opacity)}
      aria-valuetext="${Math.round(100 * state.opacity)} percent"
      @input=${(event) => {
        state.opacity = Number(event.target.value);
        changed();
      }}
    />
  </label>
`;

const list = (doc) => html`
  <ul class="objects">
    ${repeat(
      doc.objects,
      ({ key }) => key,
      (object) => row(doc, object),
    )}
  </ul>
`;

function row(doc, object) {
  const { name, color } = doc.labels.get(object.key);
  const selected = object.key === doc.selected;
  const hidden = doc.hidden.has(object.key);
  return html`
    <li class=${selected ? "selected" : ""} aria-current=${selected ? "true" : nothing} @click=${() => select(object.key)}>
      <div class="line">
        <input
          type="color"
          aria-label="Colour of ${name}"
          .value=${color}
          @input=${(event) => label(object, { color: event.target.value })}
        />
        <input
          type="text"
          maxlength="128"
          aria-label="Name of ${name}"
          .value=${name}
          @focus=${() => select(object.key)}
          @change=${(event) => {
            const given = event.target.value.trim() || name;
            event.target.value = given;
            label(object, { name: given });
          }}
        />
        ${score(object)}
        ${iconButton(hidden ? "hidden" : "eye", `${hidden ? "Show" : "Hide"} ${name}`, act(() => toggle(object)), {
          keys: "H",
        })}
        ${iconButton("bin", `Delete ${name}`, act(() => remove(object)), { keys: "Delete" })}
      </div>
      ${object.waiting ? waiting(object, name) : nothing} ${selected ? details(doc, object) : nothing}
    </li>
  `;
}

/** A button inside a row: the row is not selected too. */
const act = (work) => (event) => {
  event.stopPropagation();
  work();
};

function score({ score: value, waiting: due }) {
  if (value === null) return html`<span class="score">${due ? "…" : "–"}</span>`;
  const grade = value >= 0.8 ? "good" : value >= 0.6 ? "fair" : "poor";
  const tip = "The network's own estimate of how well the mask fits (IoU); not a measurement";
  return html`<span class="score ${grade}" title=${tip}>${value.toFixed(2)}</span>`;
}

function waiting(object, name) {
  const { job } = object;
  if (!job) return html`<progress aria-label="${name}: segmenting"></progress>`;
  const queued = job.state === "queued" && job.place > 0;
  const running = job.total ? `${job.done} of ${job.total} slices` : "Following …";
  const text = queued ? `Place ${job.place} in the queue` : running;
  return html`
    <div class="job">
      ${job.total
        ? html`<progress aria-label="${name}: slices" max=${job.total} value=${job.done}></progress>`
        : html`<progress aria-label="${name}: slices"></progress>`}
      <span>${text}</span>
      <button type="button" class="quiet" @click=${act(() => cancel(object))}>Cancel</button>
    </div>
  `;
}

function details(doc, object) {
  const extent = doc.image.volume ? extentOf(object, doc.plane) : null;
  const oneSlice = doc.image.volume && object.box && thickness(doc.image, object.axis, object.box) === 1 && object.regions.size <= 1;
  return html`
    <div class="details">
      <span>${size(doc, object)}</span>
      ${extent
        ? html`<span>
            <button type="button" class="quiet" @click=${act(() => goTo((extent[0] + extent[1]) >> 1))}>
              ${extent[0] === extent[1] ? `slice ${extent[0] + 1}` : `slices ${extent[0] + 1}–${extent[1] + 1}`}
            </button>
          </span>`
        : nothing}
      ${object.box
        ? html`<button type="button" class="quiet" @click=${act(() => openNumbers(object))}>Edit box</button>`
        : nothing}
      ${oneSlice && !object.waiting
        ? html`<button type="button" class="quiet" @click=${act(() => follow(object))}>Follow through slices</button>`
        : nothing}
    </div>
  `;
}

function size({ image }, object) {
  if (!object.size) return object.waiting ? "" : "empty";
  const count = `${object.size.toLocaleString("en")} ${image.volume ? "voxels" : "pixels"}`;
  const spacing = image.spacing_mm;
  if (!spacing) return count;
  const whole = object.size * spacing.slice(0, image.volume ? 3 : 2).reduce((product, side) => product * side, 1);
  const amount = image.volume ? `${tidy(whole / 1000)} ml` : `${tidy(whole / 100)} cm²`;
  return html`<span title=${count}>${amount}</span>`;
}

const tidy = (value) => Number(value.toPrecision(3)).toLocaleString("en");

/** Ask for a box in numbers: a new object's, or another one for an object. */
function openNumbers(object) {
  const { doc } = state;
  const { width, height } = doc.plane;
  const quarter = [width >> 2, height >> 2, width - (width >> 2), height - (height >> 2)];
  const box = object?.box ?? boxOn(doc.image, doc.plane, doc.slice, quarter);
  const names = doc.image.volume ? ["x0", "y0", "z0", "x1", "y1", "z1"] : ["x0", "y0", "x1", "y1"];
  const dialog = document.getElementById("numbers");
  render(
    html`
      <form
        method="dialog"
        @submit=${(event) => {
          const values = names.map((name) => Number(event.target.elements[name].value));
          if (event.submitter?.value !== "go") return;
          object ? moveBox(current(object), values) : addBoxOf(values);
          showSlice(doc, values);
        }}
      >
        <h2>${object ? `Box of ${doc.labels.get(object.key).name}` : "A new box in numbers"}</h2>
        <p class="hint">In pixels from 0. The far edges (${names.slice(names.length / 2).join(", ")}) are not inside.</p>
        <div class="numbers ${doc.image.volume ? "three" : "two"}">
          ${names.map(
            (name, at) => html`
              <label>
                <span>${name}</span>
                <input type="number" name=${name} step="any" required value=${box[at]} />
              </label>
            `,
          )}
        </div>
        <div class="buttons">
          <button type="submit" value="no" formnovalidate>Cancel</button>
          <button type="submit" value="go" class="primary">Segment</button>
        </div>
      </form>
    `,
    dialog,
  );
  dialog.querySelector("form").reset();
  dialog.showModal();
}

const current = (object) => state.doc.objects.find(({ key }) => key === object.key) ?? object;

function showSlice(doc, box) {
  const { first, last } = rectangleOf(doc.image, doc.plane, box);
  if (doc.image.volume && (doc.slice < first || doc.slice >= last)) goTo(Math.floor((first + last) / 2));
}
