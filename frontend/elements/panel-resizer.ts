/** The edge of a side panel: dragged, or moved with the arrow keys; a double click gives the first width back. */

import { readSetting, writeSetting } from "../lib/store";

const KEY_STEP = 16;

export class PanelResizer extends HTMLElement {
  private usual = 0;

  connectedCallback(): void {
    this.usual = Number(this.getAttribute("aria-valuenow"));
    const kept = Number(readSetting(`width.${this.panel}`));
    this.set(kept || this.usual, { keep: false });
    this.addEventListener("pointerdown", (event) => this.drag(event));
    this.addEventListener("dblclick", () => this.set(this.usual));
    this.addEventListener("keydown", (event) => {
      const outwards = this.panel === "recipe" ? "ArrowRight" : "ArrowLeft";
      const inwards = this.panel === "recipe" ? "ArrowLeft" : "ArrowRight";
      if (event.key === outwards) this.set(this.width + KEY_STEP);
      else if (event.key === inwards) this.set(this.width - KEY_STEP);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
  }

  private get panel(): string {
    return this.dataset.for ?? "";
  }

  private get width(): number {
    return Number(this.getAttribute("aria-valuenow"));
  }

  private set(width: number, { keep = true } = {}): void {
    const [least, most] = [Number(this.getAttribute("aria-valuemin")), Number(this.getAttribute("aria-valuemax"))];
    const bounded = Math.round(Math.min(most, Math.max(least, width)));
    this.setAttribute("aria-valuenow", String(bounded));
    this.closest<HTMLElement>("studio-room")?.style.setProperty(`--${this.panel}-width`, `${bounded}px`);
    if (keep) writeSetting(`width.${this.panel}`, bounded);
  }

  private drag(start: PointerEvent): void {
    start.preventDefault();
    this.setPointerCapture(start.pointerId);
    const from = this.width;
    const sign = this.panel === "recipe" ? 1 : -1;
    const move = (event: PointerEvent): void => this.set(from + sign * (event.clientX - start.clientX));
    const end = (): void => {
      this.removeEventListener("pointermove", move);
      this.removeEventListener("pointerup", end);
      this.removeEventListener("pointercancel", end);
    };
    this.addEventListener("pointermove", move);
    this.addEventListener("pointerup", end);
    this.addEventListener("pointercancel", end);
  }
}

customElements.define("panel-resizer", PanelResizer);
