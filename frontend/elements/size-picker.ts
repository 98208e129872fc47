/** Width and height: ready sizes, or any two sides; a model brings its own size along. */

export class SizePicker extends HTMLElement {
  private stop: () => void = () => undefined;

  connectedCallback(): void {
    this.addEventListener("click", (event) => {
      const target = event.target as Element;
      const chip = target.closest<HTMLElement>("[data-width]");
      if (chip) this.set(chip.dataset.width ?? "", chip.dataset.height ?? "");
      else if (target.closest('[data-action="swap"]')) this.set(this.side("height").value, this.side("width").value);
    });
    this.addEventListener("input", () => this.draw());
    const form = this.closest("form");
    const chosen = (event: Event): void => {
      const radio = event.target;
      if (radio instanceof HTMLInputElement && radio.name === "model" && radio.checked) this.follow(radio);
    };
    form?.addEventListener("change", chosen);
    this.stop = () => form?.removeEventListener("change", chosen);
    this.draw();
  }

  disconnectedCallback(): void {
    this.stop();
  }

  private side(name: "width" | "height"): HTMLInputElement {
    const input = this.querySelector<HTMLInputElement>(`input[name="${name}"]`);
    if (!input) throw new Error(`size-picker holds no ${name}`);
    return input;
  }

  private set(width: string, height: string): void {
    this.side("width").value = width;
    this.side("height").value = height;
    this.side("width").dispatchEvent(new Event("input", { bubbles: true }));
  }

  /** Another model: its size, unless the person chose one that no model brought. */
  private follow(radio: HTMLInputElement): void {
    const radios = this.closest("form")?.querySelectorAll<HTMLElement>('input[name="model"]') ?? [];
    const own = [...radios].some(
      (other) => other.dataset.width === this.side("width").value && other.dataset.height === this.side("height").value,
    );
    if (own && radio.dataset.width && radio.dataset.height) this.set(radio.dataset.width, radio.dataset.height);
  }

  private draw(): void {
    const [width, height] = [this.side("width").value, this.side("height").value];
    for (const chip of this.querySelectorAll<HTMLElement>("[data-width]")) {
      chip.setAttribute("aria-pressed", String(chip.dataset.width === width && chip.dataset.height === height));
    }
  }
}

customElements.define("size-picker", SizePicker);
