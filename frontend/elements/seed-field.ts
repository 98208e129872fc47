/** The seed: empty is random for every job, the die chooses one now. */

import { randomSeed } from "../lib/random";

export class SeedField extends HTMLElement {
  connectedCallback(): void {
    this.addEventListener("click", (event) => {
      const action = (event.target as Element).closest<HTMLElement>("[data-action]")?.dataset.action;
      if (action === "roll") this.write(String(randomSeed()));
      if (action === "clear") this.write("");
    });
    this.addEventListener("input", () => this.draw());
    this.draw();
  }

  private get input(): HTMLInputElement | null {
    return this.querySelector("input");
  }

  private write(value: string): void {
    const input = this.input;
    if (!input) return;
    input.value = value;
    input.dispatchEvent(new Event("input", { bubbles: true }));
    if (!value) input.focus(); // the button that had the focus goes away
  }

  private draw(): void {
    const clear = this.querySelector<HTMLButtonElement>('[data-action="clear"]');
    if (clear) clear.hidden = !this.input?.value;
  }
}

customElements.define("seed-field", SeedField);
