// Zoom and pan: where a pixel of the plane is on the screen, and back.

const MOST = 64;

export class Viewport {
  /** `width` and `height` are the canvas's, in CSS pixels; `scale` is screen pixels for the plane's smaller pixel side. */
  constructor() {
    this.width = this.height = 1;
    this.scale = 1;
    this.center = [0, 0];
    this.plane = null;
    this.fitted = true;
  }

  get scaleU() {
    return this.scale * this.plane.stepU * (this.plane.flipU ? -1 : 1);
  }

  get scaleV() {
    return this.scale * this.plane.stepV * (this.plane.flipV ? -1 : 1);
  }

  resize(width, height) {
    [this.width, this.height] = [Math.max(1, width), Math.max(1, height)];
    if (this.fitted) this.fit();
  }

  /** Show another plane; the zoom stays where it is the same image's. */
  show(plane, keep) {
    const same = keep && this.plane?.axis === plane.axis;
    this.plane = plane;
    if (!same) this.fit();
  }

  fit() {
    if (!this.plane) return;
    const { width, height, stepU, stepV } = this.plane;
    const margin = 16;
    this.scale = Math.min(
      Math.max(1, this.width - 2 * margin) / (width * stepU),
      Math.max(1, this.height - 2 * margin) / (height * stepV),
    );
    this.center = [width / 2, height / 2];
    this.fitted = true;
  }

  /** Zoom by a factor; the place under `at` (screen) stays. */
  zoom(factor, at = [this.width / 2, this.height / 2]) {
    const fixed = this.toPlane(at);
    const least = Math.min(0.05, (this.scale * 32) / Math.max(this.plane.width, this.plane.height));
    this.scale = Math.min(MOST, Math.max(least, this.scale * factor));
    const [x, y] = this.toScreen(fixed);
    this.pan(at[0] - x, at[1] - y);
  }

  /** Move the image by screen pixels. */
  pan(dx, dy) {
    const { width, height } = this.plane;
    this.center[0] = Math.min(width, Math.max(0, this.center[0] - dx / this.scaleU));
    this.center[1] = Math.min(height, Math.max(0, this.center[1] - dy / this.scaleV));
    this.fitted = false;
  }

  /** Move the image as little as shows a place of the plane. */
  reveal([u, v]) {
    const [x, y] = this.toScreen([u, v]);
    const margin = 24;
    const off = (at, size) => Math.max(0, margin - at) + Math.min(0, size - margin - at);
    const [dx, dy] = [off(x, this.width), off(y, this.height)];
    if (dx || dy) this.pan(dx, dy);
  }

  toScreen([u, v]) {
    return [
      (u - this.center[0]) * this.scaleU + this.width / 2,
      (v - this.center[1]) * this.scaleV + this.height / 2,
    ];
  }

  toPlane([x, y]) {
    return [
      (x - this.width / 2) / this.scaleU + this.center[0],
      (y - this.height / 2) / this.scaleV + this.center[1],
    ];
  }

  /** The matrix of `toScreen`. */
  get matrix() {
    const [x, y] = this.toScreen([0, 0]);
    return new DOMMatrix([this.scaleU, 0, 0, this.scaleV, x, y]);
  }
}
