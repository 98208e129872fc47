/** Dragging a row of a list by its handle, with mouse, pen or finger, among the rows of the same line. */

export type Beside = { before: string } | { after: string };

const FAR_PX = 4;
const EDGE_PX = 28;

/** Where a row that is let go at `y` belongs among the others; null where it lay. Pure. */
export function placeAt(y: number, held: string, rows: readonly { job: string; middle: number }[]): Beside | null {
  const others = rows.filter((row) => row.job !== held);
  const next = others.findIndex((row) => y < row.middle);
  const at = next < 0 ? others.length : next;
  if (at === rows.findIndex((row) => row.job === held)) return null;
  const before = others[at];
  const after = others.at(-1);
  if (before) return { before: before.job };
  return after ? { after: after.job } : null;
}

export class RowDrag {
  private row: HTMLElement | null = null;
  private startY = 0;
  private startScroll = 0;
  private isMoving = false;
  private readonly down = (event: PointerEvent): void => this.take(event);
  private readonly move = (event: PointerEvent): void => this.follow(event);
  private readonly up = (event: PointerEvent): void => this.drop(event.clientY);
  private readonly away = (): void => this.drop(null);
  private readonly key = (event: KeyboardEvent): void => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    this.drop(null);
  };

  constructor(
    private readonly box: HTMLElement,
    private readonly dropped: (row: HTMLElement, beside: Record<string, string>) => void,
  ) {
    box.addEventListener("pointerdown", this.down);
  }

  get isHeld(): boolean {
    return this.row !== null;
  }

  stop(): void {
    this.drop(null);
    this.box.removeEventListener("pointerdown", this.down);
  }

  private take(event: PointerEvent): void {
    const handle = (event.target as Element).closest<HTMLElement>(".queue__handle");
    const row = handle?.closest<HTMLElement>("[data-line]");
    if (!row || event.button !== 0 || this.row) return;
    this.row = row;
    this.startY = event.clientY;
    this.startScroll = this.box.scrollTop;
    this.isMoving = false;
    document.addEventListener("pointermove", this.move);
    document.addEventListener("pointerup", this.up);
    document.addEventListener("pointercancel", this.away);
    document.addEventListener("keydown", this.key, true);
  }

  private follow(event: PointerEvent): void {
    if (!this.row) return;
    if (!this.isMoving && Math.abs(event.clientY - this.startY) < FAR_PX) return;
    this.isMoving = true;
    event.preventDefault();
    this.scroll(event.clientY);
    const by = event.clientY - this.startY + this.box.scrollTop - this.startScroll;
    this.row.classList.add("queue__row--held");
    this.row.style.setProperty("--by", `${by}px`);
    this.show(this.target(event.clientY));
  }

  private drop(y: number | null): void {
    const { row } = this;
    document.removeEventListener("pointermove", this.move);
    document.removeEventListener("pointerup", this.up);
    document.removeEventListener("pointercancel", this.away);
    document.removeEventListener("keydown", this.key, true);
    this.row = null;
    if (!row) return;
    const beside = y === null || !this.isMoving ? null : this.target(y, row);
    row.classList.remove("queue__row--held");
    // Not only the property: htmx carries attributes over to the fresh row, and the policy refuses an inline style.
    row.removeAttribute("style");
    this.show(null);
    if (!beside) return;
    // Where it will be, at once; the server's list follows.
    if ("before" in beside) this.find(beside.before)?.before(row);
    else this.find(beside.after)?.after(row);
    this.dropped(row, beside);
  }

  private rows(line: string): HTMLElement[] {
    return [...this.box.querySelectorAll<HTMLElement>(`[data-line="${CSS.escape(line)}"]`)];
  }

  private find(job: string): HTMLElement | null {
    return this.box.querySelector<HTMLElement>(`[data-job="${CSS.escape(job)}"]`);
  }

  private target(y: number, held = this.row): Beside | null {
    if (!held) return null;
    const rows = this.rows(held.dataset.line ?? "").map((row) => {
      const { top, height } = row.getBoundingClientRect();
      return { job: row.dataset.job ?? "", middle: top + height / 2 };
    });
    return placeAt(y, held.dataset.job ?? "", rows);
  }

  private show(beside: Beside | null): void {
    for (const marked of this.box.querySelectorAll("[data-drop]")) marked.removeAttribute("data-drop");
    if (!beside) return;
    const [side, job] = "before" in beside ? ["before", beside.before] : ["after", beside.after];
    this.find(job)?.setAttribute("data-drop", side);
  }

  private scroll(y: number): void {
    const { top, bottom } = this.box.getBoundingClientRect();
    if (y < top + EDGE_PX) this.box.scrollTop -= EDGE_PX / 2;
    else if (y > bottom - EDGE_PX) this.box.scrollTop += EDGE_PX / 2;
  }
}
