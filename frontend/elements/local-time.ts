/** A point in time in the reader's own time zone; `data-day` shows the day alone, `data-time` the time. */

export class LocalTime extends HTMLElement {
  connectedCallback(): void {
    const at = new Date(this.getAttribute("datetime") ?? "");
    if (Number.isNaN(at.getTime())) return;
    this.title = at.toISOString();
    const day: Intl.DateTimeFormatOptions = { day: "numeric", month: "short", year: "numeric" };
    const time: Intl.DateTimeFormatOptions = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
    if (!this.hasAttribute("data-seconds") && !this.hasAttribute("data-time")) delete time.second;
    const shown = this.hasAttribute("data-day") ? day : this.hasAttribute("data-time") ? time : { ...day, ...time };
    this.textContent = at.toLocaleString("en-GB", shown);
  }
}

customElements.define("local-time", LocalTime);
