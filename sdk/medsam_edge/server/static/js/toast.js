// Messages: errors stay until they are closed, the rest goes by itself. Readers are told both.

import { html, render } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";

const GOES_AFTER = 5000;
const MOST = 4;

let shown = [];
let made = 0;

/** Say that something is done. */
export function tell(text) {
  const key = add(text, "done");
  setTimeout(() => close(key), GOES_AFTER);
}

/** Say a problem, in the server's own words. An act that the user stopped is none. */
export function complain(error) {
  if (error.name === "AbortError") return;
  if (error.status === undefined) console.error(error);
  add(error.message || String(error), "problem");
}

/** Say something that a user should know of, until it is closed. */
export function warn(text) {
  add(text, "warning");
}

/** For screen readers alone. */
export function announce(text) {
  document.getElementById("spoken").textContent = text;
}

/** Close the newest problem; whether there was one. */
export function closeLast() {
  if (!shown.length) return false;
  close(shown.at(-1).key);
  return true;
}

function add(text, kind) {
  const key = ++made;
  shown = [...shown.filter((own) => own.text !== text), { key, text, kind }].slice(-MOST);
  draw();
  return key;
}

function close(key) {
  shown = shown.filter((own) => own.key !== key);
  draw();
}

function draw() {
  for (const place of ["problems", "news"]) {
    render(
      repeat(
        shown.filter(({ kind }) => (kind === "problem") === (place === "problems")),
        ({ key }) => key,
        ({ key, text, kind }) => html`
          <div class="toast ${kind}">
            <span>${text}</span>
            <button type="button" class="icon" aria-label="Close message" @click=${() => close(key)}>
              <svg aria-hidden="true"><use href="#i-close"></use></svg>
            </button>
          </div>
        `,
      ),
      document.getElementById(place),
    );
  }
}
