/** Turbo, Fast or Relax: remembers the choice, and says what each would mean before the button is pressed. */

import { listen, part } from "../lib/dom";
import { ask } from "../lib/http";
import { readSetting, writeSetting } from "../lib/store";

const PAUSE_MS = 400;
/** The dispatcher tells within a second what it was asked for. */
const SECOND_LOOK_MS = 1_300;
const AGAIN_MS = 12_000;
const UNKNOWN = "–";
/** What has a bearing on cost; prompts never leave the form for this. */
const COSTLY = ["model", "width", "height", "num_inference_steps", "guidance_scale", "sampler", "num_images_per_prompt", "strength", "guidance_end", "hires_scale", "hires_strength", "hires_steps", "hires_tile"];

interface TierWords {
  wait: string;
  ahead: string;
  ground: string;
}

interface Words {
  price: string;
  is_complete: boolean;
  tiers: Record<string, TierWords>;
}

export class TierPicker extends HTMLElement {
  private timer: ReturnType<typeof setTimeout> | undefined;
  private again: ReturnType<typeof setInterval> | undefined;
  private asked = "";
  private number = 0;
  private looks = 0;
  /** The queue changed just now: what the dispatcher has said may be from before. */
  private isSettling = false;
  private words: Words | null = null;
  private stop: (() => void)[] = [];

  connectedCallback(): void {
    const { form } = this;
    const kept = readSetting("tier");
    for (const radio of this.radios) if (radio.value === kept) radio.checked = true;
    const chosen = (event: Event): void => {
      if (event.target instanceof HTMLInputElement && event.target.name === "tier") {
        writeSetting("tier", event.target.value);
        this.draw();
      } else this.soon();
    };
    const fresh = (): void => this.soon(true);
    form?.addEventListener("input", chosen);
    form?.addEventListener("change", chosen);
    document.addEventListener("visibilitychange", fresh);
    this.again = setInterval(fresh, AGAIN_MS);
    this.stop = [
      () => form?.removeEventListener("input", chosen),
      () => form?.removeEventListener("change", chosen),
      () => document.removeEventListener("visibilitychange", fresh),
      listen("studio:jobs-changed", () => {
        this.isSettling = true;
        fresh();
      }),
      listen("studio:agents", fresh),
    ];
    this.soon(true);
  }

  disconnectedCallback(): void {
    clearTimeout(this.timer);
    clearInterval(this.again);
    for (const stop of this.stop) stop();
  }

  private get form(): HTMLFormElement | null {
    return this.closest("form");
  }

  private get radios(): HTMLInputElement[] {
    return [...this.querySelectorAll<HTMLInputElement>('input[name="tier"]')];
  }

  /** Ask in a moment; an unchanged recipe only if the queue may have changed. */
  private soon(isStale = false): void {
    if (isStale) this.asked = "";
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.look(), PAUSE_MS);
  }

  private query(): string {
    const query = new URLSearchParams();
    const data = this.form ? new FormData(this.form) : new FormData();
    for (const name of COSTLY) {
      const value = data.get(name);
      if (typeof value === "string" && value) query.set(name, value);
    }
    if (data.get("image")) query.set("image", "1");
    return query.toString();
  }

  private async look(): Promise<void> {
    const query = this.query();
    if (document.visibilityState === "hidden" || query === this.asked || !this.dataset.url) return;
    this.asked = query;
    this.number += 1;
    const { number } = this;
    const answer = await ask(`${this.dataset.url}?${query}`, { accept: "application/json" });
    if (number !== this.number || !this.isConnected) return; // something newer was asked meanwhile
    if (answer.kind === "failed" && answer.status === 403) this.dataset.url = ""; // who only looks is not told
    this.words = answer.kind === "ok" ? (answer.json as Words | null) : null;
    this.draw();
    const isTold = this.words === null || this.words.is_complete;
    if (this.isSettling || (!isTold && this.looks < 3)) {
      this.looks += this.isSettling ? 0 : 1;
      this.isSettling = false;
      this.timer = setTimeout(() => {
        this.asked = "";
        void this.look();
      }, SECOND_LOOK_MS);
    } else this.looks = 0;
  }

  private draw(): void {
    const tier = this.radios.find((radio) => radio.checked)?.value ?? "";
    for (const place of this.querySelectorAll<HTMLElement>("[data-wait]")) {
      const words = this.words?.tiers[place.dataset.wait ?? ""];
      place.textContent = words?.wait ?? UNKNOWN;
      place.title = words?.ground ?? "";
    }
    const price = part(this, "price");
    const ahead = part(this, "ahead");
    if (price) price.textContent = this.words?.price ?? UNKNOWN;
    if (ahead) ahead.textContent = this.words?.tiers[tier]?.ahead ?? "";
  }
}

customElements.define("tier-picker", TierPicker);
