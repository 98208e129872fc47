/** A small number with a button on each side. */

export class NumberStepper extends HTMLElement {
  connectedCallback(): void {
    this.addEventListener("click", (event) => {
      const button = (event.target as Element).closest<HTMLElement>("[data-step]");
      if (button) this.step(Number(button.dataset.step));
    });
    this.addEventListener("input", () => this.draw());
    this.draw();
  }

  private get input(): HTMLInputElement | null {
    return this.querySelector("input");
  }

  private step(by: number): void {
    const input = this.input;
    if (!input) return;
    const value = Math.round(Number(input.value) || 0) + by;
    input.value = String(Math.min(Number(input.max), Math.max(Number(input.min), value)));
    input.dispatchEvent(new Event("input", { bubbles: true }));
  }

  private draw(): void {
    const input = this.input;
    if (!input) return;
    for (const button of this.querySelectorAll<HTMLButtonElement>("[data-step]")) {
      const edge = Number(button.dataset.step) < 0 ? Number(input.min) : Number(input.max);
      button.disabled = Number(input.value) === edge;
    }
  }
}

customElements.define("number-stepper", NumberStepper);
