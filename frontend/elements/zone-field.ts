/** Fills its hidden field with the reader's time zone, in which a form's days are meant. */

export class ZoneField extends HTMLElement {
  connectedCallback(): void {
    const field = this.querySelector("input");
    if (field) field.value = Intl.DateTimeFormat().resolvedOptions().timeZone;
  }
}

customElements.define("zone-field", ZoneField);
