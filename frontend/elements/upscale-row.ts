/** Upscale the starting picture as it is, or cut its objects out: the buttons beside it. Nothing else of the form counts. */

import { announce, emit, part } from "../lib/dom";
import { ask } from "../lib/http";
import { randomUuid } from "../lib/random";
import { board } from "../lib/tile-board";

export class UpscaleRow extends HTMLElement {
  private isSending = false;

  connectedCallback(): void {
    this.addEventListener("click", (event) => {
      const { scale, cutout } = (event.target as Element).closest<HTMLElement>("[data-scale], [data-cutout]")?.dataset ?? {};
      const model = part<HTMLSelectElement>(this, "upscaler")?.value;
      if (scale) void this.send(model ? { scale, model } : { scale }, `Upscaling the starting picture by ${scale}.`);
      if (cutout) void this.send({ cutout: "true", cutout_result: cutout }, "Cutting the objects out of the starting picture.");
    });
  }

  private async send(asked: Record<string, string>, said: string): Promise<void> {
    if (this.isSending) return;
    this.isSending = true;
    this.say("");
    const body = new URLSearchParams({ ...asked, idempotency_key: randomUuid() });
    for (const name of ["image", "project"]) {
      const value = this.closest("form")?.querySelector<HTMLInputElement>(`input[name="${name}"]`)?.value;
      if (value) body.set(name, value);
    }
    const tier = this.closest("form")?.querySelector<HTMLInputElement>('input[name="tier"]:checked')?.value;
    if (tier) body.set("tier", tier);
    const answer = await ask(this.dataset.url ?? "", { method: "POST", body });
    this.isSending = false;
    if (answer.kind === "failed") this.say(answer.message);
    else if (answer.kind === "problems") this.say(answer.problems.map((problem) => problem.message).join(" "));
    else {
      const [job] = board.apply(answer.text);
      announce(said);
      if (job) emit("studio:submitted", { job, rerun: false });
    }
  }

  private say(text: string): void {
    const error = part(this, "error");
    if (!error) return;
    error.textContent = text;
    error.hidden = text === "";
    if (text) announce(text);
  }
}

customElements.define("upscale-row", UpscaleRow);
