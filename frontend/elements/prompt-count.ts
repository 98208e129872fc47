/** Prompts with alternatives: says how many pictures they make before the button is pressed. */

import { part, plural } from "../lib/dom";
import { ask } from "../lib/http";
import { formValues } from "../lib/drafts";

const PAUSE_MS = 350;
/** What may be an alternative or a wildcard: only then are the prompts sent to be counted. */
const PERHAPS = /\{[^]*\|[^]*\}|__[^_\s][^]*__/;

interface Counted {
  varies: boolean;
  jobs: number;
  pictures: number;
}

export class PromptCount extends HTMLElement {
  private timer: ReturnType<typeof setTimeout> | undefined;
  private number = 0;
  private asked = "";
  private readonly soon = (): void => {
    if (!this.isPerhaps) this.show(null);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.count(), PAUSE_MS);
  };

  connectedCallback(): void {
    this.form?.addEventListener("input", this.soon);
    this.form?.addEventListener("change", this.soon);
    this.soon();
  }

  disconnectedCallback(): void {
    clearTimeout(this.timer);
    this.form?.removeEventListener("input", this.soon);
    this.form?.removeEventListener("change", this.soon);
  }

  /** Pictures that the prompts make, where they hold alternatives. */
  get pictures(): number | null {
    return this.hidden ? null : Number(this.dataset.pictures) || null;
  }

  private get form(): HTMLFormElement | null {
    return this.closest("form");
  }

  private get isPerhaps(): boolean {
    const boxes = this.form?.querySelectorAll<HTMLTextAreaElement>('[name="prompt"], [name="negative_prompt"]') ?? [];
    return [...boxes].some((box) => PERHAPS.test(box.value));
  }

  private async count(): Promise<void> {
    if (!this.form || !this.isPerhaps) return;
    const values = Object.entries(formValues(this.form)).map(([name, value]) => [name, String(value ?? "")]);
    const body = new URLSearchParams(values);
    if (body.toString() === this.asked) return;
    this.asked = body.toString();
    this.number += 1;
    const { number } = this;
    const answer = await ask(this.dataset.url ?? "", { method: "POST", body, accept: "application/json" });
    if (number !== this.number || !this.isPerhaps) return; // something newer was asked meanwhile
    if (answer.kind === "ok") this.show(answer.json as Counted | null);
    else if (answer.kind === "problems") this.complain(answer.problems.map((problem) => problem.message).join(" "));
    else this.show(null);
  }

  private show(counted: Counted | null): void {
    const varies = counted?.varies ?? false;
    if (!counted) this.asked = "";
    this.hidden = !varies;
    this.dataset.pictures = varies ? String(counted?.pictures) : "";
    this.say(varies ? `This makes ${plural(counted?.pictures ?? 0, "picture")}.` : "", "");
  }

  private complain(message: string): void {
    this.hidden = false;
    this.dataset.pictures = "";
    this.say("", message);
  }

  private say(text: string, wrong: string): void {
    const note = part(this, "note");
    const error = part(this, "error");
    if (note) note.textContent = text;
    if (error) {
      error.textContent = wrong;
      error.hidden = wrong === "";
    }
    this.dispatchEvent(new CustomEvent("counted", { bubbles: true }));
  }
}

customElements.define("prompt-count", PromptCount);
