/** Copies the text marked `data-copy` nearest to it. */

import { announce } from "../lib/dom";

export class CopyButton extends HTMLElement {
  connectedCallback(): void {
    this.querySelector("button")?.addEventListener("click", () => void this.copy());
  }

  private get source(): HTMLElement | null {
    for (let around: HTMLElement | null = this; around; around = around.parentElement) {
      const found = around.querySelector<HTMLElement>("[data-copy]");
      if (found) return found;
      if (around.matches("section, details, li")) break;
    }
    return null;
  }

  private async copy(): Promise<void> {
    const source = this.source;
    if (!source) return;
    const done = await writeClipboard(source.textContent ?? "");
    this.toggleAttribute("data-copied", done);
    announce(done ? "Copied." : "Copying is not allowed here. The text is selected: copy it with the keyboard.");
    if (!done) getSelection()?.selectAllChildren(source);
    setTimeout(() => this.removeAttribute("data-copied"), 1_600);
  }
}

/** The clipboard needs a secure context; a studio on plain HTTP still has the old way. */
async function writeClipboard(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const box = document.createElement("textarea");
    box.value = text;
    box.className = "visually-hidden";
    document.body.append(box);
    box.select();
    const done = typeof document.execCommand === "function" && document.execCommand("copy");
    box.remove();
    return done;
  }
}

customElements.define("copy-button", CopyButton);
