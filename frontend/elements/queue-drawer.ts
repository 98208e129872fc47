/** The queue: what runs and waits, fetched again whenever a job changes; one's own can be moved, paused, asked for again. */

import { announce, emit, listen, part } from "../lib/dom";
import { ask } from "../lib/http";
import { RowDrag } from "../lib/row-drag";
import { board } from "../lib/tile-board";

const PAUSE_MS = 250;
/** Waiting is explained while somebody looks, at first within a second. */
const FIRST_LOOK_MS = 1_300;
const LOOK_MS = 5_000;
const KEYS: Readonly<Record<string, string>> = { ArrowUp: "up", ArrowDown: "down", Home: "first", End: "last" };

export class QueueDrawer extends HTMLElement {
  private timer: ReturnType<typeof setTimeout> | undefined;
  private look: ReturnType<typeof setInterval> | undefined;
  private firstLook: ReturnType<typeof setTimeout> | undefined;
  private observer: MutationObserver | null = null;
  private drag: RowDrag | null = null;
  private opened = "";
  private focused = "";
  /** The job that was moved just now, to say where it has come to. */
  private moved = "";
  private looks = 0;
  /** The queue changed just now: what the dispatcher has said may be from before. */
  private isSettling = false;
  private stop: () => void = () => undefined;

  connectedCallback(): void {
    const body = this.querySelector<HTMLElement>("#queue");
    this.stop = listen("studio:jobs-changed", () => {
      this.isSettling = true;
      this.refreshSoon();
    });
    this.addEventListener("click", (event) => this.clicked(event));
    this.addEventListener("keydown", (event) => this.pressed(event));
    if (body) {
      this.drag = new RowDrag(body, (row, beside) => void this.post(row.dataset.move ?? "", beside, row.dataset.job ?? ""));
      this.observer = new MutationObserver(() => this.count());
      this.observer.observe(body, { childList: true, subtree: true });
      body.addEventListener("htmx:beforeSwap", (event) => this.beforeSwap(event));
      body.addEventListener("htmx:afterSwap", () => this.afterSwap());
      body.addEventListener("htmx:afterRequest", (event) => {
        const asked = (event as CustomEvent<{ requestConfig?: { verb?: string } }>).detail.requestConfig?.verb;
        if (asked === "post") this.refreshSoon(); // a cancel: the answer is the row, the others move up too
      });
    }
    this.look = setInterval(() => this.lookAgain(), LOOK_MS);
    this.count();
    this.lookSoon();
  }

  disconnectedCallback(): void {
    clearTimeout(this.timer);
    clearTimeout(this.firstLook);
    clearInterval(this.look);
    this.observer?.disconnect();
    this.drag?.stop();
    this.stop();
  }

  /** Several changes within a moment lead to one request. */
  private refreshSoon(): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      if (this.drag?.isHeld) this.refreshSoon();
      else this.querySelector("#queue")?.dispatchEvent(new CustomEvent("studio:queue-stale"));
    }, PAUSE_MS);
  }

  /** What waits is explained anew every few seconds, while it can be seen. */
  private lookAgain(): void {
    const isSeen = document.visibilityState !== "hidden" && this.getClientRects().length > 0;
    if (isSeen && this.querySelector("[data-waiting]")) this.refreshSoon();
  }

  private lookSoon(): void {
    const isUnsaid = this.querySelector("[data-unsaid]") !== null;
    if (!isUnsaid) this.looks = 0;
    if (!this.isSettling && (!isUnsaid || this.looks >= 3)) return;
    this.looks += this.isSettling ? 0 : 1;
    this.isSettling = false;
    clearTimeout(this.firstLook);
    this.firstLook = setTimeout(() => this.lookAgain(), FIRST_LOOK_MS);
  }

  private count(): void {
    const { mine = "0", total = "0" } = this.querySelector<HTMLElement>("#queue-rows")?.dataset ?? {};
    const count = part(this, "count");
    if (count) count.textContent = Number(total) ? `${mine} / ${total}` : "";
    for (const badge of document.querySelectorAll<HTMLElement>("[data-queue-count]")) {
      badge.textContent = Number(total) ? total : "";
      badge.hidden = Number(total) === 0;
    }
  }

  private beforeSwap(event: Event): void {
    if (this.drag?.isHeld) {
      event.preventDefault(); // the rows stay where the hand is; what has changed comes after
      this.refreshSoon();
      return;
    }
    const active = document.activeElement;
    this.focused = active instanceof HTMLElement && this.contains(active) ? active.id : "";
  }

  /** The rows are new: open what was open, and give the focus back. */
  private afterSwap(): void {
    if (this.opened) this.open(this.opened, true);
    if (this.focused && !this.contains(document.activeElement)) {
      const same = document.getElementById(this.focused);
      const job = this.focused.slice(this.focused.indexOf("-") + 1);
      const near = same && !(same as HTMLButtonElement).disabled ? same : document.getElementById(`more-${job}`);
      near?.focus();
    }
    const row = this.moved ? this.row(this.moved) : null;
    if (row?.dataset.place) announce(`Now number ${row.dataset.place} of ${row.dataset.of} in this line.`);
    this.moved = "";
    emit("studio:queue-drawn", {});
    this.lookSoon();
  }

  private row(job: string): HTMLElement | null {
    return this.querySelector<HTMLElement>(`.queue__row[data-job="${CSS.escape(job)}"]`);
  }

  private open(job: string, isOpen: boolean): void {
    const button = document.getElementById(`more-${job}`);
    const strip = document.getElementById(`strip-${job}`);
    if (button) button.setAttribute("aria-expanded", String(isOpen));
    if (strip) strip.hidden = !isOpen;
    if (isOpen) this.row(job)?.scrollIntoView?.({ block: "nearest" });
  }

  private clicked(event: MouseEvent): void {
    const button = (event.target as Element).closest<HTMLButtonElement>("button[data-action]");
    const row = button?.closest<HTMLElement>(".queue__row");
    const job = row?.dataset.job ?? "";
    if (!button || !row) return;
    const { action, url = "", to = "" } = button.dataset;
    if (action === "more") {
      const isOpen = button.getAttribute("aria-expanded") !== "true";
      if (this.opened) this.open(this.opened, false);
      this.opened = isOpen ? job : "";
      this.open(job, isOpen);
    } else if (action === "move") void this.post(row.dataset.move ?? "", { to }, job, button);
    else if (action === "retry") void this.retry(url, button);
    else if (action === "pause" || action === "resume") {
      if (this.opened === job) this.opened = "";
      this.focused = "";
      void this.post(url, {}, "", button);
    }
  }

  private pressed(event: KeyboardEvent): void {
    const target = event.target as HTMLElement;
    const row = target.closest<HTMLElement>(".queue__row");
    if (event.key === "Escape" && row && this.opened === row.dataset.job) {
      this.open(this.opened, false);
      document.getElementById(`more-${this.opened}`)?.focus();
      this.opened = "";
      event.preventDefault();
      return;
    }
    const to = KEYS[event.key];
    if (!to || !row || !target.matches(".queue__handle") || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    void this.post(row.dataset.move ?? "", { to }, row.dataset.job ?? "");
  }

  private async post(url: string, body: Record<string, string>, moved: string, button?: HTMLButtonElement): Promise<void> {
    if (!url || button?.getAttribute("aria-busy") === "true") return;
    button?.setAttribute("aria-busy", "true");
    const answer = await ask(url, { method: "POST", body: new URLSearchParams(body) });
    button?.removeAttribute("aria-busy");
    if (answer.kind === "ok") this.moved = moved;
    else complain(answer);
    this.refreshSoon();
  }

  private async retry(url: string, button: HTMLButtonElement): Promise<void> {
    if (button.getAttribute("aria-busy") === "true") return;
    button.setAttribute("aria-busy", "true");
    const answer = await ask(url, { method: "POST", body: new URLSearchParams() });
    button.removeAttribute("aria-busy");
    if (answer.kind !== "ok") {
      complain(answer);
      return;
    }
    const [job] = board.apply(answer.text);
    announce("Asked for again.");
    if (job) emit("studio:submitted", { job, rerun: false });
    this.refreshSoon();
  }
}

function complain(answer: Exclude<Awaited<ReturnType<typeof ask>>, { kind: "ok" }>): void {
  const text = answer.kind === "failed" ? answer.message : answer.problems.map((problem) => problem.message).join(" ");
  emit("studio:toast", { text, bad: true });
}

customElements.define("queue-drawer", QueueDrawer);
