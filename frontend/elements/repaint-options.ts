/** What of a starting picture is to change: a mask and its settings, or new ground at its sides. */

import { part } from "../lib/dom";
import type { PictureEvent, StartPicture, Uploaded } from "./start-picture";

const SIDES = ["left", "top", "right", "bottom"] as const;
/** The recipe's own default for a picture that is changed all over. */
const STRENGTH_OF_PICTURE = "0.7";

export class RepaintOptions extends HTMLElement {
  private transparent: Uploaded | null = null;
  private readonly pictured = (event: Event): void => {
    const { picture, byUser } = (event as PictureEvent).detail;
    const field = (event.target as HTMLElement).dataset.field;
    if (field === "image" && byUser) this.transparent = picture?.mask ? { ...picture, sha256: picture.mask } : null;
    if (field === "mask" && byUser && picture) this.startAnew();
    // The form's hidden field is written after the card is drawn.
    queueMicrotask(() => this.draw());
  };
  private readonly changed = (event: Event): void => {
    const name = (event.target as HTMLInputElement).name ?? "";
    if (name.startsWith("outpaint_") && event.isTrusted && this.isExtended) this.startAnew();
    this.draw();
  };
  private readonly filled = (): void => this.draw();

  connectedCallback(): void {
    const { form } = this;
    form?.addEventListener("picture", this.pictured);
    form?.addEventListener("input", this.changed);
    form?.addEventListener("filled", this.filled);
    this.addEventListener("click", (event) => {
      if (!(event.target as Element).closest('[data-action="use-transparent"]') || !this.transparent) return;
      this.querySelector<StartPicture>('[data-field="mask"]')?.put(this.transparent);
    });
    this.draw();
  }

  disconnectedCallback(): void {
    const { form } = this;
    form?.removeEventListener("picture", this.pictured);
    form?.removeEventListener("input", this.changed);
    form?.removeEventListener("filled", this.filled);
  }

  private get form(): HTMLFormElement | null {
    return this.closest("form");
  }

  private control(name: string): HTMLInputElement | null {
    const found = this.form?.elements.namedItem(name);
    return found instanceof HTMLInputElement || found instanceof HTMLSelectElement ? (found as HTMLInputElement) : null;
  }

  private number(name: string): number {
    return Number(this.control(name)?.value) || 0;
  }

  private get isExtended(): boolean {
    return SIDES.some((side) => this.number(`outpaint_${side}`) > 0);
  }

  /** Under a mask, and on new ground, nothing of the old is to shine through; unless that was chosen. */
  private startAnew(): void {
    const strength = this.control("strength");
    if (strength?.value !== STRENGTH_OF_PICTURE) return;
    strength.value = "1";
    strength.dispatchEvent(new Event("input", { bubbles: true }));
  }

  /** What means nothing just now is neither shown nor sent; what was set stays for later. */
  private draw(): void {
    const hasPicture = Boolean(this.control("image")?.value);
    const hasMask = Boolean(this.control("mask")?.value);
    const isMasked = hasMask && this.control("inpaint_area")?.value === "masked";
    this.show("all", hasPicture);
    this.show("area", hasMask);
    this.show("padding", isMasked);
    this.show("edge", hasMask || this.isExtended);
    const offer = part(this, "transparent");
    if (offer) offer.hidden = hasMask || !this.transparent;
    const note = part(this, "kept");
    if (note) note.textContent = this.sentence();
  }

  private show(name: string, isThere: boolean): void {
    const group = part<HTMLFieldSetElement>(this, name);
    if (!group) return;
    group.hidden = !isThere;
    group.disabled = !isThere;
  }

  private sentence(): string {
    if (!this.isExtended) return "";
    const [width, height] = [this.number("width"), this.number("height")];
    const wide = width - this.number("outpaint_left") - this.number("outpaint_right");
    const tall = height - this.number("outpaint_top") - this.number("outpaint_bottom");
    if (wide <= 0 || tall <= 0) return `Nothing of ${width} × ${height} is left for the picture.`;
    return `The picture fills ${wide} × ${tall} of ${width} × ${height}.`;
  }
}

customElements.define("repaint-options", RepaintOptions);
