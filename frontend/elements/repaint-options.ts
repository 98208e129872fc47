/** What of a starting picture is to change: a mask and its settings, or new ground at its sides. */

import { part } from "../lib/dom";
import { maskOf, type Uploaded } from "../lib/uploads";
import type { PictureEvent, StartPicture } from "./start-picture";

const SIDES = ["left", "top", "right", "bottom"] as const;
/** The recipe's own defaults: for a picture that is changed all over, and for a part of one. */
const [STRENGTH_OF_PICTURE, STRENGTH_OF_MASK] = ["0.7", "1"];

export class RepaintOptions extends HTMLElement {
  private transparent: Uploaded | null = null;
  /** The strength was raised here, for a mask or an extension that may go again. */
  private isRaised = false;
  private readonly pictured = (event: Event): void => {
    const { picture, byUser } = (event as PictureEvent).detail;
    const field = (event.target as HTMLElement).dataset.field;
    if (field === "image" && byUser) this.transparent = maskOf(picture);
    // The form's hidden field is written after the card is drawn.
    queueMicrotask(() => {
      if (field === "mask" && byUser) this.suitStrength();
      this.draw();
    });
  };
  private readonly changed = (event: Event): void => {
    const name = (event.target as HTMLInputElement).name ?? "";
    if (name.startsWith("outpaint_") && event.isTrusted) this.suitStrength();
    if (name === "strength" && event.isTrusted) this.isRaised = false;
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

  /** A picture is changed under a mask or extended, never both: with a mask its sides wait. */
  private get isExtended(): boolean {
    return !this.control("mask")?.value && SIDES.some((side) => this.number(`outpaint_${side}`) > 0);
  }

  /**
   * Under a mask, and on new ground, nothing of the old is to shine through; unless that was chosen.
   * Without them it would be a picture that has nothing of the starting one, so it goes back.
   */
  private suitStrength(): void {
    const isNew = Boolean(this.control("mask")?.value) || this.isExtended;
    const strength = this.control("strength");
    if (!strength || isNew === this.isRaised) return;
    if (strength.value !== (isNew ? STRENGTH_OF_PICTURE : STRENGTH_OF_MASK)) return;
    strength.value = isNew ? STRENGTH_OF_MASK : STRENGTH_OF_PICTURE;
    strength.dispatchEvent(new Event("input", { bubbles: true }));
    this.isRaised = isNew;
  }

  /** What means nothing just now is neither shown nor sent; what was set stays for later. */
  private draw(): void {
    const hasPicture = Boolean(this.control("image")?.value);
    const hasMask = Boolean(this.control("mask")?.value);
    const isMasked = hasMask && this.control("inpaint_area")?.value === "masked";
    this.show("all", hasPicture);
    this.show("area", hasMask);
    this.show("padding", isMasked);
    this.show("extension", !hasMask);
    this.show("edge", hasMask || this.isExtended);
    const extend = part<HTMLDetailsElement>(this, "extend");
    if (extend && this.isExtended) extend.open = true;
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
