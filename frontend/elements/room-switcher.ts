/** The menu of workspaces: arrow keys move, typing finds, Enter goes to the first that is found. */

const ROOM = '[data-part="room"]';

export class RoomSwitcher extends HTMLElement {
  connectedCallback(): void {
    this.querySelector("details")?.addEventListener("toggle", () => this.opened());
    this.filter?.addEventListener("input", () => this.find());
    this.addEventListener("keydown", (event) => this.pressed(event));
  }

  private get filter(): HTMLInputElement | null {
    return this.querySelector('[data-part="filter"]');
  }

  /** What can be gone to, as it stands in the list. */
  private get links(): HTMLAnchorElement[] {
    return [...this.querySelectorAll<HTMLAnchorElement>("a")].filter((link) => !link.closest("[hidden]"));
  }

  private opened(): void {
    if (!this.querySelector("details")?.open) return;
    const first = this.filter ?? this.querySelector<HTMLElement>("[aria-current]") ?? this.links[0];
    first?.focus();
  }

  private find(): void {
    const wanted = (this.filter?.value ?? "").trim().toLocaleLowerCase();
    let found = 0;
    for (const group of this.querySelectorAll<HTMLElement>('[data-part="group"]')) {
      const rooms = [...group.querySelectorAll<HTMLElement>(ROOM)];
      for (const room of rooms) {
        const name = room.querySelector('[data-part="name"]')?.textContent ?? "";
        room.hidden = !name.toLocaleLowerCase().includes(wanted);
      }
      const left = rooms.filter((room) => !room.hidden).length;
      group.hidden = wanted !== "" && left === 0;
      found += left;
    }
    const none = this.querySelector<HTMLElement>('[data-part="none"]');
    if (none) none.hidden = found > 0 || wanted === "";
  }

  private pressed(event: KeyboardEvent): void {
    if (!this.querySelector("details")?.open) return;
    const steps: Readonly<Record<string, number>> = { ArrowDown: 1, ArrowUp: -1 };
    const step = steps[event.key];
    if (step !== undefined) {
      event.preventDefault();
      this.move(step);
    } else if (event.key === "Enter" && event.target === this.filter) {
      event.preventDefault();
      this.querySelector<HTMLAnchorElement>(`${ROOM}:not([hidden]) a`)?.click();
    }
  }

  private move(step: number): void {
    const stops: HTMLElement[] = [...(this.filter ? [this.filter] : []), ...this.links];
    const here = stops.indexOf(document.activeElement as HTMLElement);
    const next = here === -1 ? 0 : (here + step + stops.length) % stops.length;
    stops[next]?.focus();
  }
}

customElements.define("room-switcher", RoomSwitcher);
