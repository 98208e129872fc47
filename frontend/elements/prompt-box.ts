/** The prompt: grows with its text, walks through its history. */

import { announce, emit, listen, part, plural } from "../lib/dom";
import { HISTORY_MAX, PromptHistory } from "../lib/history";
import { bindKeys } from "../lib/keys";
import { roomAddresses } from "../lib/room";

export class PromptBox extends HTMLElement {
  private history = new PromptHistory("");
  private stop: (() => void)[] = [];

  connectedCallback(): void {
    this.history = new PromptHistory(roomAddresses().workspace);
    const sent = (event: Event): void => {
      this.history.add((event as CustomEvent<string>).detail);
      this.describe();
    };
    const form = this.closest("recipe-form");
    form?.addEventListener("prompt-sent", sent);
    this.addEventListener("input", () => this.grow());
    this.addEventListener("beforeinput", () => this.history.reset());
    this.addEventListener("click", (event) => this.clicked(event));
    this.stop = [
      () => form?.removeEventListener("prompt-sent", sent),
      bindKeys(
        { keys: "alt+arrowup", label: "Earlier prompt", group: "Making", typing: true, run: () => this.older() },
        { keys: "alt+arrowdown", label: "Later prompt", group: "Making", typing: true, run: () => this.newer() },
        {
          keys: "/",
          label: "Go to the prompt",
          group: "Making",
          run: () => {
            emit("studio:view", { view: "recipe" });
            this.box.focus();
          },
        },
      ),
      listen("studio:clear-history", () => this.clear()),
    ];
    this.grow();
    this.describe();
  }

  disconnectedCallback(): void {
    for (const stop of this.stop) stop();
  }

  private get box(): HTMLTextAreaElement {
    const box = this.querySelector<HTMLTextAreaElement>('[name="prompt"]');
    if (!box) throw new Error("prompt-box holds no prompt");
    return box;
  }

  private clicked(event: Event): void {
    switch ((event.target as Element).closest<HTMLElement>("[data-action]")?.dataset.action) {
      case "older":
        this.older();
        break;
      case "newer":
        this.newer();
        break;
      case "clear-history":
        this.clear();
        break;
    }
  }

  private older(): void {
    const found = this.history.older(this.box.value);
    if (found === null) announce("There is no earlier prompt.");
    else this.write(found);
  }

  private newer(): void {
    const found = this.history.newer();
    if (found !== null) this.write(found);
  }

  private clear(): void {
    this.history.clear();
    announce("The prompt history is empty.");
    this.describe();
    this.box.focus();
  }

  private write(text: string): void {
    this.box.value = text;
    this.box.dispatchEvent(new Event("input", { bubbles: true }));
    this.box.focus();
    this.box.setSelectionRange(text.length, text.length);
  }

  private grow(): void {
    for (const box of this.querySelectorAll("textarea")) {
      box.style.height = "auto";
      if (box.scrollHeight) box.style.height = `${box.scrollHeight + 2}px`;
    }
    const most = Number(this.box.dataset.maximum) || 4_000;
    const count = part(this, "count");
    if (!count) return;
    const length = [...this.box.value].length;
    count.hidden = length < most * 0.75;
    count.textContent = `${length} / ${most}`;
    count.toggleAttribute("data-over", length > most);
  }

  private describe(): void {
    const kept = this.history.entries.length;
    const line = part(this, "history");
    const note = part(this, "history-note");
    if (line) line.hidden = kept === 0;
    if (note) note.textContent = `${plural(kept, "prompt")} of ${HISTORY_MAX} kept in this browser until you sign out.`;
  }
}

customElements.define("prompt-box", PromptBox);
