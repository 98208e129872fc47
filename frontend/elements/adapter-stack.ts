/** LoRAs that lie over the model, each with its weight; and the words that call embeddings. */

import { announce, emit, type Parameters, part } from "../lib/dom";

const WEIGHT_LEAST = -2;
const WEIGHT_MOST = 2;

interface Use {
  digest: string;
  weight: number;
}

export class AdapterStack extends HTMLElement {
  private readonly redraw = (event: Event): void => {
    const control = event.target as HTMLInputElement;
    if (control.name === "model") this.draw();
    else if (control === this.control && control.value !== this.text) this.read();
  };
  private uses: Use[] = [];

  connectedCallback(): void {
    const { form } = this;
    form?.addEventListener("input", this.redraw);
    form?.addEventListener("change", this.redraw);
    this.addEventListener("change", (event) => {
      if (event.target === this.chooser) this.add();
    });
    this.addEventListener("click", (event) => {
      const button = (event.target as Element).closest<HTMLButtonElement>("[data-word], [data-remove], [data-settings]");
      if (button?.dataset.word) this.say(button.dataset.word);
      if (button?.dataset.remove) this.takeOff(button.dataset.remove);
      if (button?.dataset.settings) this.takeOver(button.dataset.settings);
    });
    this.addEventListener("input", (event) => {
      const number = event.target as HTMLInputElement;
      const use = this.uses.find((each) => each.digest === number.dataset.weight);
      if (!use) return;
      const weight = Number(number.value);
      if (number.value.trim() !== "" && Number.isFinite(weight)) use.weight = weight;
      this.write();
    });
    this.read();
  }

  disconnectedCallback(): void {
    this.form?.removeEventListener("input", this.redraw);
    this.form?.removeEventListener("change", this.redraw);
  }

  private get form(): HTMLFormElement | null {
    return this.closest("form");
  }

  private get control(): HTMLInputElement | null {
    return this.querySelector<HTMLInputElement>('input[name="loras"]');
  }

  private get chooser(): HTMLSelectElement | null {
    return part<HTMLSelectElement>(this, "add");
  }

  private get model(): string {
    return this.form?.querySelector<HTMLInputElement>('input[name="model"]:checked')?.value ?? "";
  }

  /** What is sent: what does not fit the chosen model stays on the list, and waits for its own. */
  private get text(): string {
    const sent = this.uses.filter((use) => this.fits(this.option(use.digest)));
    return sent.length ? JSON.stringify(sent) : "";
  }

  private option(digest: string): HTMLOptionElement | null {
    return this.querySelector<HTMLOptionElement>(`option[value="${CSS.escape(digest)}"]`);
  }

  /** What is not in the library is sent all the same, so that the server says so. */
  private fits(option: HTMLElement | null): boolean {
    return option?.dataset.models === undefined || option.dataset.models.split(" ").includes(this.model);
  }

  private read(): void {
    this.uses = parse(this.control?.value ?? "");
    this.draw();
  }

  private write(): void {
    if (this.control) this.control.value = this.text;
  }

  /** Tell the form that its values are others now. */
  private changed(): void {
    this.draw();
    this.control?.dispatchEvent(new Event("input", { bubbles: true }));
  }

  private add(): void {
    const digest = this.chooser?.value;
    const option = digest ? this.option(digest) : null;
    if (!digest || !option || !this.chooser) return;
    this.chooser.value = "";
    if (this.uses.some((use) => use.digest === digest)) return;
    this.uses.push({ digest, weight: 1 });
    this.changed();
    announce(`${option.textContent?.trim() ?? ""} is in the recipe.`);
    this.querySelector<HTMLInputElement>(`[data-weight="${CSS.escape(digest)}"]`)?.focus();
  }

  private takeOff(digest: string): void {
    this.uses = this.uses.filter((use) => use.digest !== digest);
    this.changed();
    this.chooser?.focus();
  }

  /** Put a trigger word at the end of the prompt, once. */
  private say(word: string): void {
    const prompt = this.form?.querySelector<HTMLTextAreaElement>('textarea[name="prompt"]');
    if (!prompt) return;
    const text = prompt.value.trimEnd();
    if (!text.toLowerCase().includes(word.toLowerCase())) {
      prompt.value = text ? `${text} ${word}` : word;
      prompt.dispatchEvent(new Event("input", { bubbles: true }));
    }
    prompt.focus();
    announce(`${word} is in the prompt.`);
  }

  /** Steps, guidance and sampler that a LoRA was made for. */
  private takeOver(digest: string): void {
    const option = this.option(digest);
    if (!option?.dataset.recipe) return;
    emit("studio:use-parameters", { values: JSON.parse(option.dataset.recipe) as Parameters, part: "all" });
    announce(`${option.textContent?.trim() ?? ""}: ${option.dataset.summary ?? ""}.`);
  }

  private draw(): void {
    const list = part(this, "list");
    list?.replaceChildren(...this.uses.map((use) => this.row(use)));
    const most = Number(this.dataset.maximum) || 8;
    let left = 0;
    for (const option of this.chooser?.options ?? []) {
      if (!option.value) continue;
      option.hidden = !this.fits(option) || this.uses.some((use) => use.digest === option.value);
      option.disabled = option.hidden;
      if (!option.hidden) left += 1;
    }
    if (this.chooser) this.chooser.disabled = !left || this.uses.length >= most;
    const chips = [...this.querySelectorAll<HTMLElement>(".adapters__word[data-models]")];
    for (const chip of chips) chip.hidden = !this.fits(chip);
    const words = part(this, "words");
    if (words) words.hidden = chips.every((chip) => chip.hidden);
    this.hidden = !left && !this.uses.length && (words?.hidden ?? true);
    this.write();
  }

  private row(use: Use): HTMLElement {
    const option = this.option(use.digest);
    const name = option?.textContent?.trim() || "Not in the library";
    const row = document.createElement("li");
    row.className = "adapters__row";
    const pattern = part<HTMLTemplateElement>(this, "row");
    if (pattern) row.append(pattern.content.cloneNode(true));
    const number = row.querySelector<HTMLInputElement>('input[type="number"]');
    const slider = row.querySelector<HTMLInputElement>('input[type="range"]');
    for (const input of [number, slider]) {
      if (!input) continue;
      input.min = String(WEIGHT_LEAST);
      input.max = String(WEIGHT_MOST);
      input.value = String(use.weight);
      input.setAttribute("aria-label", `Weight of ${name}`);
    }
    if (number) number.dataset.weight = use.digest;
    const label = row.querySelector(".adapters__name");
    if (label) label.textContent = name;
    const remove = row.querySelector<HTMLElement>("[data-remove]");
    if (remove) remove.dataset.remove = use.digest;
    const hint = remove?.querySelector(".visually-hidden");
    if (hint) hint.textContent = `Remove ${name}`;
    this.describe(row, option);
    return row;
  }

  private describe(row: HTMLElement, option: HTMLOptionElement | null): void {
    const note = row.querySelector<HTMLElement>(".adapters__note");
    const isUnfit = !this.fits(option);
    row.classList.toggle("adapters__row--unfit", isUnfit);
    if (note) note.hidden = !isUnfit;
    const settings = row.querySelector<HTMLElement>("[data-settings]");
    if (settings && option?.dataset.recipe) {
      settings.hidden = isUnfit;
      settings.dataset.settings = option.value;
      settings.title = option.dataset.summary ?? "";
    }
    const words = row.querySelector(".adapters__triggers");
    for (const word of (option?.dataset.words ?? "").split("\n").filter(Boolean)) {
      const chip = document.createElement("button");
      chip.type = "button";
      chip.className = "adapters__word";
      chip.dataset.word = word;
      chip.title = "Put it into the prompt";
      chip.textContent = word;
      words?.append(chip);
    }
  }
}

/** The list that a form or a recipe holds; whatever else it is counts as none. */
function parse(text: string): Use[] {
  if (!text) return [];
  try {
    const read: unknown = JSON.parse(text);
    if (!Array.isArray(read)) return [];
    return (read as Partial<Use>[])
      .filter((use) => typeof use?.digest === "string")
      .map((use) => ({ digest: String(use.digest), weight: Number(use.weight ?? 1) }));
  } catch {
    return [];
  }
}

customElements.define("adapter-stack", AdapterStack);
