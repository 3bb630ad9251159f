// Icons are symbols of index.html.

import { html, nothing } from "../vendor/lit-html/lit-html.js";

export const icon = (name) => html`<svg class="glyph" aria-hidden="true"><use href="#i-${name}"></use></svg>`;

/** A button that is an icon alone. `keys` are said in its tip. */
export const iconButton = (name, label, act, { disabled = false, pressed, keys } = {}) => html`
  <button
    type="button"
    class="icon"
    aria-label=${label}
    title=${keys ? `${label} (${keys})` : label}
    aria-pressed=${pressed === undefined ? nothing : String(pressed)}
    ?disabled=${disabled}
    @click=${act}
  >
    ${icon(name)}
  </button>
`;
