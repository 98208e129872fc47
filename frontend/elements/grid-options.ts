/** A grid: what of the recipe varies, how many pictures that makes, and asking for all of them. */

import { announce, part, plural } from "../lib/dom";
import { formValues } from "../lib/drafts";
import { ask } from "../lib/http";
import { randomUuid } from "../lib/random";

const PAUSE_MS = 350;

export class GridOptions extends HTMLElement {
  private timer: ReturnType<typeof setTimeout> | undefined;
  private number = 0;
  private isSending = false;
  /** A key without an answer is used again: if the first request did arrive, no second grid is made. */
  private unanswered: { key: string; values: string } | null = null;
  private readonly soon = (): void => {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.count(), PAUSE_MS);
  };

  connectedCallback(): void {
    this.addEventListener("change", () => this.draw());
    this.addEventListener("click", (event) => {
      if ((event.target as Element).closest('[data-action="make"]')) void this.make();
    });
    // Enter in a field of values must not send the form.
    this.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && event.target instanceof HTMLInputElement) event.preventDefault();
    });
    this.form?.addEventListener("input", this.soon);
    this.form?.addEventListener("change", this.soon);
    this.draw();
  }

  disconnectedCallback(): void {
    clearTimeout(this.timer);
    this.form?.removeEventListener("input", this.soon);
    this.form?.removeEventListener("change", this.soon);
  }

  private get form(): HTMLFormElement | null {
    return this.closest("form");
  }

  /** What is chosen, as the server takes it; nothing until an axis has values. */
  private get axes(): { parameter: string; values: string }[] {
    return [...this.querySelectorAll<HTMLElement>("[data-axis]")].flatMap((row) => {
      const parameter = part<HTMLSelectElement>(row, "parameter")?.value ?? "";
      const values = part<HTMLInputElement>(row, "values")?.value ?? "";
      return parameter && values.trim() ? [{ parameter, values }] : [];
    });
  }

  private draw(): void {
    for (const row of this.querySelectorAll<HTMLElement>("[data-axis]")) {
      const values = part<HTMLInputElement>(row, "values");
      if (values) values.disabled = !part<HTMLSelectElement>(row, "parameter")?.value;
    }
  }

  private body(): URLSearchParams {
    const values = this.form ? Object.entries(formValues(this.form)) : [];
    const body = new URLSearchParams(values.map(([name, value]) => [name, String(value ?? "")]));
    body.set("axes", JSON.stringify(this.axes));
    return body;
  }

  private async count(): Promise<void> {
    this.number += 1;
    const { number } = this;
    if (!this.axes.length) {
      this.show(0, "");
      return;
    }
    const answer = await ask(this.dataset.countUrl ?? "", { method: "POST", body: this.body(), accept: "application/json" });
    if (number !== this.number) return; // something newer was asked meanwhile
    if (answer.kind === "ok") this.show((answer.json as { pictures: number }).pictures, "");
    else if (answer.kind === "problems") this.show(0, answer.problems.map((problem) => problem.message).join(" "));
    else this.show(0, answer.message);
  }

  private async make(): Promise<void> {
    if (this.isSending || !this.axes.length) return;
    this.isSending = true;
    const body = this.body();
    for (const name of ["project", "tier"]) {
      const value = this.form && new FormData(this.form).get(name);
      if (typeof value === "string" && value) body.set(name, value);
    }
    const values = body.toString();
    const key = this.unanswered?.values === values ? this.unanswered.key : randomUuid();
    body.set("idempotency_key", key);
    const answer = await ask(this.dataset.url ?? "", { method: "POST", body, accept: "application/json" });
    this.isSending = false;
    this.unanswered = answer.kind === "failed" && answer.unsure ? { key, values } : null;
    if (answer.kind === "ok") location.assign((answer.json as { url: string }).url);
    else if (answer.kind === "problems") this.complain(answer.problems.map((problem) => problem.message).join(" "));
    else this.complain(answer.message);
  }

  private show(pictures: number, wrong: string): void {
    const button = part<HTMLButtonElement>(this, "make");
    if (button) {
      button.disabled = pictures === 0;
      button.textContent = pictures ? `Make the grid: ${plural(pictures, "picture")}` : "Make the grid";
    }
    this.complain(wrong);
  }

  private complain(text: string): void {
    const error = part(this, "error");
    if (!error) return;
    error.textContent = text;
    error.hidden = text === "";
    if (text) announce(text);
  }
}

customElements.define("grid-options", GridOptions);
