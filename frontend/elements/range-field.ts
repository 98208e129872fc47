/** A number with a slider under it: both show the same value. */

export class RangeField extends HTMLElement {
  connectedCallback(): void {
    const { number, slider } = this;
    if (!number || !slider) return;
    slider.addEventListener("input", (event) => {
      event.stopPropagation();
      number.value = slider.value;
      number.dispatchEvent(new Event("input", { bubbles: true }));
    });
    number.addEventListener("input", () => this.draw());
    this.draw();
  }

  private get number(): HTMLInputElement | null {
    return this.querySelector<HTMLInputElement>('input[type="number"]');
  }

  private get slider(): HTMLInputElement | null {
    return this.querySelector<HTMLInputElement>('input[type="range"]');
  }

  private draw(): void {
    const { number, slider } = this;
    if (!number || !slider) return;
    if (slider.value !== number.value) slider.value = number.value;
    const [least, most] = [Number(slider.min), Number(slider.max)];
    const share = most > least ? (Number(slider.value) - least) / (most - least) : 0;
    slider.style.setProperty("--fill", String(Math.min(1, Math.max(0, share))));
  }
}

customElements.define("range-field", RangeField);
