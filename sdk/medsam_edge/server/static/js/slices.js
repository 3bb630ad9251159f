// Below the canvas of a volume: the slice, a slider, and where the objects are.

import { html, nothing, render } from "../vendor/lit-html/lit-html.js";
import { iconButton } from "./icons.js";
import { extentOf } from "./plane.js";
import { goTo, state } from "./state.js";

export function drawSlices() {
  const { doc } = state;
  const place = document.getElementById("slices");
  place.hidden = !doc?.image.volume;
  if (place.hidden) return render(nothing, place);
  const { depth, name } = doc.plane;
  render(
    html`
      ${iconButton("left", "Previous slice", () => goTo(doc.slice - 1), { disabled: doc.slice < 1, keys: "Page up" })}
      <span class="slider">
        <canvas id="extents" aria-hidden="true"></canvas>
        <input
          id="slice"
          type="range"
          min="0"
          max=${depth - 1}
          .value=${String(doc.slice)}
          aria-label="Slice"
          aria-valuetext="${name} slice ${doc.slice + 1} of ${depth}"
          @input=${(event) => goTo(Number(event.target.value))}
        />
      </span>
      ${iconButton("right", "Next slice", () => goTo(doc.slice + 1), {
        disabled: doc.slice >= depth - 1,
        keys: "Page down",
      })}
      <output for="slice">${name} <b>${doc.slice + 1}</b> / ${depth}</output>
    `,
    place,
  );
  drawExtents(doc, depth);
}

/** A line for each object, over the slices on which it is. */
function drawExtents(doc, depth) {
  const canvas = document.getElementById("extents");
  const { clientWidth: width, clientHeight: height } = canvas;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, width, height);
  const shown = doc.objects.filter((own) => !doc.hidden.has(own.key) && own.regions.size);
  shown.forEach((object, at) => {
    const [first, last] = extentOf(object, doc.plane);
    const step = height / shown.length;
    context.fillStyle = doc.labels.get(object.key).color;
    context.fillRect((first / depth) * width, at * step, Math.max(2, ((last + 1 - first) / depth) * width), Math.max(1, step - 1));
  });
}
