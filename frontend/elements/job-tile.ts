/** One picture of a job: a place that waits, fills with its live preview, and becomes the picture. */

import { emit } from "../lib/dom";
import { ask } from "../lib/http";
import { isStatus, isTerminal, type JobState, nextStatus, type Status, tileProgress } from "../lib/job-state";
import { restoreOutput, trashOutput } from "../lib/outputs";
import { jobAddress } from "../lib/room";

/** How long a preview waits for its picture to load before it gives way. */
const HANDOVER_MS = 4_000;
const KEPT = new Set(["data-found", "class", "style", "data-large"]);

export class JobTile extends HTMLElement {
  private preview: HTMLImageElement | null = null;
  private isListening = false;

  get job(): string {
    return this.dataset.job ?? "";
  }

  get index(): number {
    return Number(this.dataset.index ?? 0);
  }

  get status(): Status {
    return isStatus(this.dataset.status) ? this.dataset.status : "queued";
  }

  get output(): string | null {
    return this.dataset.output || null;
  }

  get url(): string {
    return this.dataset.url ?? "";
  }

  get ratio(): number {
    return Number(this.dataset.width || 1) / Number(this.dataset.height || 1);
  }

  get canCancel(): boolean {
    return this.querySelector('[data-action="cancel"]') !== null;
  }

  get errorText(): string {
    return this.querySelector(".tile__detail")?.textContent?.trim() ?? "";
  }

  get hasPreview(): boolean {
    return this.preview !== null;
  }

  connectedCallback(): void {
    if (!this.isListening) this.addEventListener("click", (event) => this.clicked(event));
    this.isListening = true;
    this.enlarge();
  }

  disconnectedCallback(): void {
    this.dropPreview();
  }

  /** Take over what a fresher tile of the same picture says; what has ended stays ended. */
  adopt(fresh: JobTile): void {
    if (nextStatus(this.status, fresh.status) !== fresh.status) return;
    if (isTerminal(this.status) && this.output === fresh.output) {
      this.copyAttributes(fresh); // only its signed addresses may be newer: do not load the picture again
      return;
    }
    const hadFocus = this.contains(document.activeElement);
    const preview = this.preview;
    this.preview = null;
    this.copyAttributes(fresh);
    this.replaceChildren(...fresh.childNodes);
    this.enlarge();
    if (preview) this.handOver(preview);
    if (hadFocus) this.querySelector<HTMLElement>(".tile__frame")?.focus();
  }

  /** Draw how far the job is. */
  showProgress(job: JobState): void {
    if (isTerminal(this.status)) return;
    const { isCurrent, share } = tileProgress(job, this.index);
    if (job.status === "queued" && this.status === "running") this.dropPreview(); // its agent was lost: it starts again
    this.dataset.status = job.status === "running" && (isCurrent || share === 1) ? "running" : "queued";
    this.style.setProperty("--share", String(share));
    this.style.setProperty("--steps", String(Math.max(1, job.steps)));
    const label = this.querySelector('[data-part="label"]');
    if (label) label.textContent = this.label(job, isCurrent, share);
    const bar = this.querySelector('[data-part="progress"]');
    bar?.setAttribute("aria-valuenow", String(Math.round(share * 100)));
    if (isCurrent && job.steps) bar?.setAttribute("aria-valuetext", `Step ${job.step} of ${job.steps}`);
  }

  /** Draw a preview; the one before is let go when the new one is there. */
  showPreview(picture: Blob): void {
    if (isTerminal(this.status)) return;
    const frame = this.querySelector(".tile__frame");
    if (!frame) return;
    const url = URL.createObjectURL(picture);
    if (!this.preview) {
      this.preview = document.createElement("img");
      this.preview.className = "tile__preview";
      this.preview.alt = "";
      frame.append(this.preview);
    }
    const before = this.preview.src;
    const release = (): void => {
      if (before.startsWith("blob:")) URL.revokeObjectURL(before);
    };
    this.preview.addEventListener("load", release, { once: true });
    this.preview.addEventListener("error", release, { once: true });
    this.preview.src = url;
  }

  private label(job: JobState, isCurrent: boolean, share: number): string {
    if (isCurrent) return job.step > 0 ? `Step ${job.step} of ${job.steps}` : "Starting";
    if (share === 1) return "Finishing";
    return this.dataset.paused === undefined ? "Waiting" : "Paused";
  }

  private copyAttributes(fresh: JobTile): void {
    for (const { name } of [...this.attributes]) {
      if (!KEPT.has(name) && !fresh.hasAttribute(name)) this.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) if (!KEPT.has(name)) this.setAttribute(name, value);
  }

  /** On the stage the picture itself is shown, not its thumbnail. */
  private enlarge(): void {
    const picture = this.querySelector<HTMLImageElement>(".tile__picture");
    const whole = this.dataset.picture;
    if (this.dataset.large === undefined || !picture || !whole || picture.getAttribute("src") === whole) return;
    const loader = new Image();
    loader.addEventListener("load", () => picture.setAttribute("src", whole), { once: true });
    loader.src = whole;
  }

  /** Keep the preview over the picture until that has loaded, then let it fade. */
  private handOver(preview: HTMLImageElement): void {
    const frame = this.querySelector(".tile__frame");
    const picture = this.querySelector<HTMLImageElement>(".tile__picture");
    if (!frame || (!picture && isTerminal(this.status))) {
      release(preview);
      return;
    }
    frame.append(preview);
    if (!picture) {
      this.preview = preview; // still being made
      return;
    }
    const done = (): void => {
      clearTimeout(timer);
      preview.classList.add("tile__preview--leaving");
      setTimeout(() => release(preview), 500);
    };
    const timer = setTimeout(done, HANDOVER_MS);
    if (picture.complete && picture.naturalWidth > 0) done();
    else {
      picture.addEventListener("load", done, { once: true });
      picture.addEventListener("error", done, { once: true });
    }
  }

  private dropPreview(): void {
    if (this.preview) release(this.preview);
    this.preview = null;
  }

  private clicked(event: MouseEvent): void {
    const target = event.target as Element;
    const link = target.closest<HTMLAnchorElement>("a.tile__frame");
    const isPlain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
    if (link) {
      if (!isPlain || !document.getElementById("viewer")) return; // a new tab, or a page without a stage
      event.preventDefault();
      emit("studio:open-picture", { url: this.url, from: link });
      return;
    }
    const button = target.closest<HTMLButtonElement>("button[data-action]");
    if (button) void this.act(button.dataset.action ?? "", button);
  }

  private async act(action: string, button: HTMLButtonElement): Promise<void> {
    if (action === "show") emit("studio:show-job", { job: this.job, byUser: true });
    else if (action === "again" || action === "parameters") {
      emit("studio:use-job", { job: this.job, submit: action === "again" });
    } else if (action === "trash" && this.output) {
      await trashOutput(this.output, `${this.url}/trash`, `${this.url}/restore`);
    } else if (action === "restore" && this.output) await restoreOutput(this.output, `${this.url}/restore`);
    else if (action === "cancel") await cancelJob(this.job, button);
  }
}

function release(preview: HTMLImageElement): void {
  if (preview.src.startsWith("blob:")) URL.revokeObjectURL(preview.src);
  preview.remove();
}

/** Ask the server to cancel; the tile changes when the server says so. */
export async function cancelJob(job: string, button?: HTMLButtonElement | null): Promise<void> {
  if (button) button.disabled = true;
  const answer = await ask(jobAddress(job, "cancel"), { method: "POST" });
  if (button) button.disabled = false;
  if (answer.kind === "failed") emit("studio:toast", { text: answer.message, bad: true });
  else emit("studio:jobs-changed", { job });
}

customElements.define("job-tile", JobTile);
