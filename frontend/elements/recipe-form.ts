/** The recipe: says what Generate will do, sends it once per press, and puts every problem at its field. */

import { announce, emit, isMac, listen, type ParameterPart, type Parameters, part, plural } from "../lib/dom";
import { formValues, loadDraft, recallRecipe, rememberRecipe, saveDraft } from "../lib/drafts";
import { ask, type FieldProblem } from "../lib/http";
import { bindKeys } from "../lib/keys";
import { chosenProject } from "../lib/project";
import { fetchParameters } from "../lib/outputs";
import { randomUuid } from "../lib/random";
import { jobAddress, roomAddresses } from "../lib/room";
import { readPrivate, writePrivate } from "../lib/store";
import { board } from "../lib/tile-board";
import type { PromptCount } from "./prompt-count";
import { clearProblems, placeProblems } from "./recipe-problems";

const PARTS: Record<Exclude<ParameterPart, "all">, (name: string) => boolean> = {
  prompt: (name) => name === "prompt" || name === "negative_prompt",
  seed: (name) => name === "seed",
  size: (name) => name === "width" || name === "height",
  remix: (name) => name !== "seed",
};

/** What a whole recipe does not say, because it has neither mask, extension, LoRAs nor controls, and nothing is tuned. */
const UNSAID: Parameters = {
  ...{ loras: "", controls: "", references: "", vae: "", refiner: "", mask: "", outpaint_left: 0, outpaint_top: 0, outpaint_right: 0, outpaint_bottom: 0 },
  ...{ sigmas: "", guidance_end: 1, variation_seed: "", variation_strength: 0 },
  ...{ hires_scale: "", hires_strength: 0.3, hires_steps: "", hires_upscaler: "lanczos", hires_tile: "" },
};

export class RecipeForm extends HTMLElement {
  /** Which models an agent holds right now. */
  private markWarm(digests: readonly string[]): void {
    for (const radio of this.querySelectorAll<HTMLInputElement>(".model__radio")) {
      const isWarm = digests.includes(radio.value);
      radio.dataset.warm = isWarm ? "1" : "0";
      const word = radio.closest(".model")?.querySelector(".model__warmth");
      if (!word) continue;
      word.textContent = isWarm ? "warm" : "cold";
      word.classList.toggle("model__warmth--warm", isWarm);
    }
  }

  private isSending = false;
  /** A key without an answer is used again: if the first request did arrive, the server makes no second job. */
  private unanswered: { key: string; values: string } | null = null;
  private stop: (() => void)[] = [];

  connectedCallback(): void {
    const { workspace } = roomAddresses();
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.send();
    });
    // The second press of a double click is no second job.
    this.querySelector("#generate")?.addEventListener("click", (event) => {
      if ((event as MouseEvent).detail > 1) event.preventDefault();
    });
    const changed = (): void => {
      this.describe();
      saveDraft(workspace, formValues(this.form));
    };
    this.form.addEventListener("input", changed);
    this.form.addEventListener("change", changed);
    this.form.addEventListener("counted", () => this.describe());
    this.stop = [
      bindKeys({ keys: "mod+enter", label: "Generate", group: "Making", typing: true, run: () => void this.send() }),
      listen("studio:use-parameters", ({ values, part: which, submit }) => {
        this.use(values, which);
        if (submit) void this.send();
        else emit("studio:view", { view: "recipe" });
      }),
      listen("studio:project", () => this.showProject()),
      listen("studio:use-job", ({ job, submit }) => void this.useJob(job, submit)),
      listen("studio:agents", ({ warm, connected, digests }) => {
        this.dataset.warm = String(warm);
        this.dataset.connected = String(connected);
        this.markWarm(digests);
        this.describe();
      }),
    ];
    const shortcut = part(this, "shortcut");
    if (shortcut) shortcut.textContent = isMac ? "⌘ ↵" : "Ctrl ↵";
    this.showProject();
    const draft = loadDraft(workspace);
    if (draft) this.fill(draft);
    const pending = readPrivate("tab", "pending") as { values: Parameters; part: ParameterPart } | null;
    writePrivate("tab", "pending", null);
    if (pending) this.use(pending.values, pending.part);
    this.describe();
  }

  disconnectedCallback(): void {
    for (const stop of this.stop) stop();
  }

  private get form(): HTMLFormElement {
    const form = this.querySelector("form");
    if (!form) throw new Error("recipe-form holds no form");
    return form;
  }

  private get project(): string {
    return this.form.querySelector<HTMLInputElement>('input[name="project"]')?.value ?? "";
  }

  private get varies(): boolean {
    return this.querySelector<PromptCount>("prompt-count")?.hidden === false;
  }

  /** What pressing the button makes, alternatives included. */
  private pictures(values: Parameters): number {
    return this.querySelector<PromptCount>("prompt-count")?.pictures ?? Number(values["num_images_per_prompt"]);
  }

  /** How soon; like the project it stands beside the recipe. */
  private get tier(): string {
    return this.form.querySelector<HTMLInputElement>('input[name="tier"]:checked')?.value ?? "";
  }

  /** Say where new pictures go. */
  private showProject(): void {
    const { id, name } = chosenProject();
    const field = this.form.querySelector<HTMLInputElement>('input[name="project"]');
    if (field) field.value = id;
    const into = part(this, "into");
    const shown = part(this, "into-name");
    if (into) into.hidden = !id;
    if (shown) shown.textContent = name;
  }

  /** Send the form; the server's answer decides what becomes of it, and nothing typed is ever lost. */
  async send(): Promise<void> {
    if (this.isSending) return;
    const values = formValues(this.form);
    const { project, tier } = this;
    const asText = JSON.stringify([values, project, tier]);
    const key = this.unanswered?.values === asText ? this.unanswered.key : randomUuid();
    const body = new URLSearchParams(Object.entries(values).map(([name, value]) => [name, String(value ?? "")]));
    body.set("idempotency_key", key);
    if (project) body.set("project", project);
    if (tier) body.set("tier", tier);
    this.busy(true);
    clearProblems(this);
    const answer = await ask(this.form.action, { method: "POST", body });
    this.busy(false);
    this.unanswered = answer.kind === "failed" && answer.unsure ? { key, values: asText } : null;
    if (answer.kind === "problems") this.showProblems(answer.problems);
    else if (answer.kind === "failed") this.say(answer.message);
    else this.accepted(answer.text, values);
  }

  private accepted(html: string, values: Parameters): void {
    const [job] = board.apply(html);
    announce(`${plural(this.pictures(values) || 1, "picture")} queued.`);
    if (!job) return;
    // What was chosen from alternatives is asked of the server: trying again must not choose anew.
    if (!this.varies) rememberRecipe(roomAddresses().workspace, job, values);
    this.dispatchEvent(new CustomEvent("prompt-sent", { detail: String(values["prompt"] ?? "") }));
    emit("studio:submitted", { job, rerun: false });
  }

  /** Take over values; `which` says which of them. */
  use(values: Parameters, which: ParameterPart): void {
    const wanted = which === "all" ? (): boolean => true : PARTS[which];
    const said = "image" in values ? { ...UNSAID, ...values } : values; // a preset is no whole recipe
    this.fill(Object.fromEntries(Object.entries(said).filter(([name]) => wanted(name))), { mark: true });
    clearProblems(this);
    announce(which === "all" || which === "remix" ? "The parameters are in the recipe." : `The ${which} is in the recipe.`);
  }

  private fill(values: Parameters, { mark = false } = {}): void {
    for (const [name, value] of Object.entries(values)) {
      if (name === "num_images_per_prompt" && mark && Number(value) === 1) continue; // one picture of a batch was looked at
      const text = asText(value);
      const radios = this.form.querySelectorAll<HTMLInputElement>(`input[type="radio"][name="${CSS.escape(name)}"]`);
      for (const radio of radios) {
        if (radio.value !== text || radio.checked) continue; // an unknown model changes nothing
        radio.checked = true;
        radio.dispatchEvent(new Event("input", { bubbles: true }));
      }
      if (radios.length) continue;
      const control = this.form.elements.namedItem(name);
      if (
        control instanceof HTMLInputElement ||
        control instanceof HTMLTextAreaElement ||
        control instanceof HTMLSelectElement
      ) {
        if (control.value === text) continue;
        control.value = text;
        control.dispatchEvent(new Event("input", { bubbles: true }));
        control.dispatchEvent(new CustomEvent("filled", { bubbles: true, detail: values }));
        if (mark) this.mark(control);
      }
    }
    this.describe();
  }

  private mark(control: HTMLElement): void {
    const field = control.closest<HTMLElement>("[data-field]");
    if (!field) return;
    field.classList.add("field--filled");
    setTimeout(() => field.classList.remove("field--filled"), 1_400);
  }

  private async useJob(job: string, submit: boolean): Promise<void> {
    const values =
      recallRecipe(roomAddresses().workspace, job) ?? (await fetchParameters(jobAddress(job, "parameters")));
    if (values) emit("studio:use-parameters", { values, part: "all", submit });
  }

  private showProblems(problems: readonly FieldProblem[]): void {
    const left = placeProblems(this, problems);
    const count = problems.length;
    this.say([count === 1 ? "One setting needs a change." : `${count} settings need a change.`, ...left].join(" "));
    emit("studio:view", { view: "recipe" });
    this.querySelector<HTMLElement>('[aria-invalid="true"]')?.focus();
  }

  private say(text: string): void {
    const problems = part(this, "problems");
    if (problems) problems.textContent = text;
  }

  private busy(isBusy: boolean): void {
    this.isSending = isBusy;
    const button = this.querySelector("#generate");
    if (isBusy) button?.setAttribute("aria-busy", "true");
    else button?.removeAttribute("aria-busy");
  }

  private describe(): void {
    const values = formValues(this.form);
    const count = this.pictures(values);
    const label = part(this, "label");
    const size = part(this, "size");
    const note = part(this, "note");
    if (label) label.textContent = count > 0 ? `Generate ${plural(count, "picture")}` : "Generate";
    if (size) size.textContent = `· ${values["width"] || "–"}×${values["height"] || "–"}`;
    if (note) note.textContent = this.agentSentence();
  }

  private agentSentence(): string {
    if (Number(this.dataset.warm) > 0) return "The model is warm.";
    if (Number(this.dataset.connected) > 0) return "The model is loading: the first picture takes longer.";
    return "No agent is connected: the job waits until one is.";
  }
}

/** A value as its control holds it: lists as JSON. */
function asText(value: unknown): string {
  if (value === null || value === undefined) return "";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

customElements.define("recipe-form", RecipeForm);
