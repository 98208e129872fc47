/** The samplers that work with the chosen model. One that does not gives way to the family's own, and comes back with its model. */

import { announce, part } from "../lib/dom";

export class SamplerField extends HTMLElement {
  /** What was chosen and had to give way. */
  private wanted = "";
  private readonly chosen = (event: Event): void => {
    const name = (event.target as HTMLInputElement).name;
    if (name === "sampler") this.wanted = "";
    // A recipe that is filled in says its model and its sampler one after the other.
    if (name === "sampler" || name === "model") queueMicrotask(() => this.fit());
  };

  connectedCallback(): void {
    this.form?.addEventListener("input", this.chosen);
    this.form?.addEventListener("change", this.chosen);
    this.fit();
  }

  disconnectedCallback(): void {
    this.form?.removeEventListener("input", this.chosen);
    this.form?.removeEventListener("change", this.chosen);
  }

  private get form(): HTMLFormElement | null {
    return this.closest("form");
  }

  private get select(): HTMLSelectElement | null {
    return this.querySelector("select");
  }

  private fit(): void {
    const { select } = this;
    const radios = this.form?.querySelectorAll<HTMLInputElement>('input[name="model"]') ?? [];
    const radio = [...radios].find((each) => each.checked);
    const family = radio?.dataset["family"];
    if (!select || !family) return; // without a model there is nothing to fit
    for (const option of select.options) option.hidden = option.disabled = !works(option, family);
    const now = select.selectedOptions[0];
    const back = [...select.options].find((option) => option.value === this.wanted);
    if (back && works(back, family)) {
      this.wanted = "";
      this.take(back);
      this.say("");
    } else if (now && !works(now, family)) {
      const own = [...select.options].find((option) => names(option.dataset["default"], family));
      if (!own) return;
      this.wanted = now.value;
      this.take(own);
      this.say(`${own.text}, since ${now.text} does not work with ${radio?.dataset["name"] ?? "this model"}.`);
    } else if (!this.wanted) this.say("");
  }

  private take(option: HTMLOptionElement): void {
    const { select, wanted } = this;
    if (!select || option.selected) return;
    select.value = option.value;
    select.dispatchEvent(new Event("input", { bubbles: true }));
    this.wanted = wanted; // nobody chose it
  }

  private say(text: string): void {
    const note = part(this, "instead");
    if (!note || note.textContent === text) return;
    note.textContent = text;
    note.hidden = text === "";
    if (text) announce(text);
  }
}

function works(option: HTMLOptionElement, family: string): boolean {
  return names(option.dataset["families"], family);
}

function names(listed: string | undefined, family: string): boolean {
  return (listed ?? "").split(" ").includes(family);
}

customElements.define("sampler-field", SamplerField);
