/** The chosen model's presets: a press takes over what one names, and the one that the form equals is marked. */

import { announce, emit, type Parameters } from "../lib/dom";

export class PresetRow extends HTMLElement {
  private stop: () => void = () => undefined;

  connectedCallback(): void {
    const { form } = this;
    const pressed = (event: Event): void => {
      const button = (event.target as Element).closest<HTMLButtonElement>("[data-recipe]");
      if (button) this.use(button);
    };
    const changed = (): void => this.draw();
    this.addEventListener("click", pressed);
    form?.addEventListener("input", changed);
    form?.addEventListener("change", changed);
    this.stop = () => {
      this.removeEventListener("click", pressed);
      form?.removeEventListener("input", changed);
      form?.removeEventListener("change", changed);
    };
    this.draw();
  }

  disconnectedCallback(): void {
    this.stop();
  }

  private get form(): HTMLFormElement | null {
    return this.closest("form");
  }

  private use(button: HTMLButtonElement): void {
    emit("studio:use-parameters", { values: recipeOf(button), part: "all" });
    announce(`${button.textContent?.trim() ?? ""}: ${button.title}.`);
  }

  private draw(): void {
    const radios = this.form?.querySelectorAll<HTMLInputElement>('input[name="model"]') ?? [];
    const shown = [...radios].find((radio) => radio.checked)?.dataset.presets;
    for (const group of this.querySelectorAll<HTMLElement>('[role="group"]')) {
      group.hidden = group.id !== shown;
      const buttons = [...group.querySelectorAll<HTMLButtonElement>("[data-recipe]")];
      const current = this.current(buttons);
      for (const button of buttons) button.setAttribute("aria-pressed", String(button === current));
    }
  }

  /** Of those that the form equals, the one that names most; of equal ones the first. */
  private current(buttons: readonly HTMLButtonElement[]): HTMLButtonElement | null {
    let [best, most] = [null as HTMLButtonElement | null, 0];
    for (const button of buttons) {
      const named = Object.entries(recipeOf(button));
      if (named.length <= most || !named.every(([name, wanted]) => this.holds(name, wanted))) continue;
      [best, most] = [button, named.length];
    }
    return best;
  }

  private holds(name: string, wanted: Parameters[string]): boolean {
    const control = this.form?.elements.namedItem(name);
    if (!(control instanceof HTMLInputElement || control instanceof HTMLSelectElement)) return false;
    if (typeof wanted === "number") return control.value.trim() !== "" && Number(control.value) === wanted;
    return control.value === wanted;
  }
}

function recipeOf(button: HTMLButtonElement): Parameters {
  return JSON.parse(button.dataset.recipe ?? "{}") as Parameters;
}

customElements.define("preset-row", PresetRow);
