/** A `<details>` that behaves like a menu: Escape and a press outside close it. */

export class DropMenu extends HTMLElement {
  private readonly outside = (event: Event): void => {
    const details = this.querySelector("details");
    if (details?.open && !this.contains(event.target as Node)) details.open = false;
  };

  connectedCallback(): void {
    document.addEventListener("pointerdown", this.outside);
    document.addEventListener("focusin", this.outside);
    this.addEventListener("keydown", (event) => {
      const details = this.querySelector("details");
      if (event.key !== "Escape" || !details?.open) return;
      event.preventDefault();
      details.open = false;
      details.querySelector("summary")?.focus();
    });
  }

  disconnectedCallback(): void {
    document.removeEventListener("pointerdown", this.outside);
    document.removeEventListener("focusin", this.outside);
  }
}

customElements.define("drop-menu", DropMenu);
