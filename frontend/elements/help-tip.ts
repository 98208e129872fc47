/** The `?` beside a setting: shows and hides its explanation. */

export class HelpTip extends HTMLElement {
  connectedCallback(): void {
    const button = this.querySelector("button");
    button?.addEventListener("click", () => {
      const text = document.getElementById(button.getAttribute("aria-controls") ?? "");
      if (!text) return;
      text.hidden = !text.hidden;
      button.setAttribute("aria-expanded", String(!text.hidden));
    });
  }
}

customElements.define("help-tip", HelpTip);
