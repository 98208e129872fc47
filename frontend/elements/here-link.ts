/** Around links of which one is the page itself: in a row that scrolls, that one is in sight. */

export class HereLink extends HTMLElement {
  connectedCallback(): void {
    this.querySelector("[aria-current=page]")?.scrollIntoView({ block: "nearest", inline: "center" });
  }
}

customElements.define("here-link", HereLink);
