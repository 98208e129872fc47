/** The starting picture: chosen, dropped or pasted, sent at once, and named in the form by its hash. */

import { announce, part } from "../lib/dom";
import { ask } from "../lib/http";

interface Uploaded {
  sha256: string;
  width: number;
  height: number;
  url: string;
}

export class StartPicture extends HTMLElement {
  private uploads = 0;
  private readonly pasted = (event: ClipboardEvent): void => {
    const file = [...(event.clipboardData?.files ?? [])].find((each) => each.type.startsWith("image/"));
    if (!file) return;
    event.preventDefault();
    void this.upload(file);
  };

  connectedCallback(): void {
    document.addEventListener("paste", this.pasted);
    this.file?.addEventListener("change", () => {
      const file = this.file?.files?.[0];
      if (file) void this.upload(file);
      if (this.file) this.file.value = ""; // the same file may be chosen again
    });
    this.addEventListener("click", (event) => {
      if ((event.target as Element).closest('[data-action="remove"]')) this.remove_();
    });
    this.addEventListener("dragover", (event) => {
      event.preventDefault();
      this.toggleAttribute("data-over", true);
    });
    this.addEventListener("dragleave", () => this.toggleAttribute("data-over", false));
    this.addEventListener("drop", (event) => {
      event.preventDefault();
      this.toggleAttribute("data-over", false);
      const file = event.dataTransfer?.files[0];
      if (file) void this.upload(file);
    });
    // Parameters or a draft brought a hash along: show that there is a starting picture, without its face.
    this.addEventListener("filled", (event) => {
      if (event.target !== this.value) return;
      this.draw(this.value?.value ? { sha256: this.value.value, width: 0, height: 0, url: "" } : null);
    });
    if (this.value?.value) this.draw({ sha256: this.value.value, width: 0, height: 0, url: "" });
  }

  disconnectedCallback(): void {
    document.removeEventListener("paste", this.pasted);
  }

  private get file(): HTMLInputElement | null {
    return this.querySelector<HTMLInputElement>('input[type="file"]');
  }

  private get value(): HTMLInputElement | null {
    return this.querySelector<HTMLInputElement>('input[name="image"]');
  }

  async upload(file: File): Promise<void> {
    this.uploads += 1;
    const mine = this.uploads;
    this.say("");
    this.toggleAttribute("data-busy", true);
    this.setText("Sending the picture…");
    const body = new FormData();
    body.set("file", file);
    const answer = await ask(this.dataset.url ?? "", { method: "POST", body, accept: "application/json" });
    if (mine !== this.uploads) return; // a later picture took its place
    this.toggleAttribute("data-busy", false);
    this.setText(null);
    if (answer.kind === "problems") this.say(answer.problems.map((problem) => problem.message).join(" "));
    else if (answer.kind === "failed") this.say(answer.message);
    else if (isUploaded(answer.json)) {
      this.put(answer.json);
      announce("The starting picture is in the recipe.");
    } else this.say("That picture could not be read. Try another.");
  }

  private put(picture: Uploaded | null): void {
    const value = this.value;
    this.draw(picture);
    if (!value) return;
    value.value = picture?.sha256 ?? "";
    value.dispatchEvent(new Event("input", { bubbles: true }));
  }

  private remove_(): void {
    this.put(null);
    this.file?.focus();
    announce("The starting picture is removed.");
  }

  private draw(picture: Uploaded | null): void {
    const drop = part(this, "drop");
    const card = part(this, "card");
    const strength = part(this, "strength");
    const shown = part<HTMLImageElement>(this, "picture");
    const facts = part(this, "facts");
    if (drop) drop.hidden = picture !== null;
    if (card) card.hidden = picture === null;
    if (strength) strength.hidden = picture === null;
    if (shown) {
      shown.hidden = !picture?.url;
      if (picture?.url) shown.src = picture.url;
      else shown.removeAttribute("src");
    }
    if (facts) facts.textContent = picture?.width ? `${picture.width} × ${picture.height}` : `${picture?.sha256.slice(0, 12) ?? ""}…`;
  }

  private setText(text: string | null): void {
    const shown = part(this, "text");
    if (!shown) return;
    shown.dataset.idle ??= shown.innerHTML;
    if (text === null) shown.innerHTML = shown.dataset.idle;
    else shown.textContent = text;
  }

  private say(text: string): void {
    const error = this.querySelector<HTMLElement>("#error_image");
    if (!error) return;
    error.textContent = text;
    error.hidden = text === "";
    if (text) {
      this.file?.setAttribute("aria-invalid", "true");
      announce(text);
    } else this.file?.removeAttribute("aria-invalid");
  }
}

function isUploaded(value: unknown): value is Uploaded {
  return typeof value === "object" && value !== null && typeof (value as Uploaded).sha256 === "string";
}

customElements.define("start-picture", StartPicture);
