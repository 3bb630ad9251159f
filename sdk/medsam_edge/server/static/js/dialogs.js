// The dialogs: opening an image, help, the token.

import { html, nothing, render } from "../vendor/lit-html/lit-html.js";
import { setToken } from "./api.js";
import { CANVAS_KEYS, KEYS } from "./keys.js";
import { openExample, openServed } from "./opening.js";
import { state } from "./state.js";

const MOST_LISTED = 500;

/** The list of served files, of those whose name has a text. */
export function drawFiles(text = "") {
  const found = state.files.filter(({ file }) => file.toLowerCase().includes(text.toLowerCase()));
  const dialog = document.getElementById("open");
  const choose = (file) => () => {
    dialog.close();
    openServed(file);
  };
  render(
    state.server?.serves_folder
      ? html`
          <label class="row filter">
            <span>Files of the folder (${found.length})</span>
            <input type="search" placeholder="Part of a name" @input=${(event) => drawFiles(event.target.value)} />
          </label>
          <ul>
            ${found.slice(0, MOST_LISTED).map(
              ({ file, bytes }) => html`
                <li>
                  <button type="button" @click=${choose(file)}><span>${file}</span><small>${size(bytes)}</small></button>
                </li>
              `,
            )}
          </ul>
          ${found.length > MOST_LISTED ? html`<p class="hint">And ${found.length - MOST_LISTED} more.</p>` : nothing}
        `
      : nothing,
    document.getElementById("files"),
  );
}

const size = (bytes) => (bytes < 2 ** 20 ? `${Math.ceil(bytes / 1024)} KiB` : `${(bytes / 2 ** 20).toFixed(1)} MiB`);

/** The keys, by group. */
export function drawHelp() {
  const text = (key) =>
    key.startsWith("^") ? `Ctrl+${key[1] === key[1].toUpperCase() ? "Shift+" : ""}${key[1].toUpperCase()}` : title(key);
  const rows = [
    ...KEYS.map(([keys, group, what]) => [keys.map(text), group, what]),
    ...CANVAS_KEYS.map(([key, what]) => [[key], "Canvas (when it has the focus)", what]),
  ];
  const groups = [...new Set(rows.map(([, group]) => group))];
  render(
    groups.map(
      (group) => html`
        <section>
          <h3>${group}</h3>
          <dl>
            ${rows
              .filter(([, own]) => own === group)
              .map(
                ([keys, , what]) => html`
                  <div>
                    <dt>${keys.map((key) => html`<kbd>${key}</kbd> `)}</dt>
                    <dd>${what}</dd>
                  </div>
                `,
              )}
          </dl>
        </section>
      `,
    ),
    document.getElementById("keys"),
  );
}

const title = (key) => (key.length === 1 ? key.toUpperCase() : key.replace(/(?<=[a-z])(?=[A-Z])/, " "));

/** Wire the dialogs' own buttons. */
export function listenToDialogs(openFiles) {
  const dialog = document.getElementById("open");
  for (const id of ["choose-files", "choose-folder"]) {
    const input = document.getElementById(id);
    input.addEventListener("change", () => {
      dialog.close();
      openFiles(input.files);
      input.value = "";
    });
  }
  for (const button of document.querySelectorAll("[data-example]")) {
    button.addEventListener("click", () => {
      dialog.close();
      openExample(button.dataset.example, button.dataset.modality);
    });
  }
  for (const button of document.querySelectorAll("[data-opens]")) {
    button.addEventListener("click", () => document.getElementById(button.dataset.opens).showModal());
  }
  document.getElementById("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    setToken(document.getElementById("token-text").value.trim());
    location.reload();
  });
}
