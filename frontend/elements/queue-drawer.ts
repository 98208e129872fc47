/** The queue: what waits and what runs, fetched again whenever a job changes. */

import { listen, part } from "../lib/dom";

const PAUSE_MS = 250;

export class QueueDrawer extends HTMLElement {
  private timer: ReturnType<typeof setTimeout> | undefined;
  private observer: MutationObserver | null = null;
  private stop: () => void = () => undefined;

  connectedCallback(): void {
    const body = this.querySelector("#queue");
    this.stop = listen("studio:jobs-changed", () => this.refreshSoon());
    if (body) {
      this.observer = new MutationObserver(() => this.count());
      this.observer.observe(body, { childList: true, subtree: true });
      body.addEventListener("htmx:afterRequest", (event) => {
        const asked = (event as CustomEvent<{ requestConfig?: { verb?: string } }>).detail.requestConfig?.verb;
        if (asked === "post") this.refreshSoon(); // a cancel: the answer is the row, the others move up too
      });
    }
    this.count();
  }

  disconnectedCallback(): void {
    clearTimeout(this.timer);
    this.observer?.disconnect();
    this.stop();
  }

  /** Several changes within a moment lead to one request. */
  private refreshSoon(): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.querySelector("#queue")?.dispatchEvent(new CustomEvent("studio:queue-stale"));
    }, PAUSE_MS);
  }

  private count(): void {
    const rows = this.querySelectorAll(".queue__row").length;
    const count = part(this, "count");
    if (count) count.textContent = rows ? String(rows) : "";
    for (const badge of document.querySelectorAll<HTMLElement>("[data-queue-count]")) {
      badge.textContent = rows ? String(rows) : "";
      badge.hidden = rows === 0;
    }
  }
}

customElements.define("queue-drawer", QueueDrawer);
