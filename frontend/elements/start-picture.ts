/** The starting picture, or a mask: a file or a web address, chosen, dropped or pasted; sent at once, named in the form by its hash. */

import { announce, listen, part } from "../lib/dom";
import { type Answer, ask } from "../lib/http";
import { isUploaded, maskOf, type Uploaded } from "../lib/uploads";
import { addressIn } from "../lib/web-address";

/** Said by the element whenever another picture, or none, is in the form. */
export type PictureEvent = CustomEvent<{ picture: Uploaded | null; byUser: boolean }>;

export class StartPicture extends HTMLElement {
  private uploads = 0;
  private asked = "";
  private stop: () => void = () => {};
  private readonly pasted = (event: ClipboardEvent): void => {
    const file = [...(event.clipboardData?.files ?? [])].find((each) => each.type.startsWith("image/"));
    const address = !file && !isWriting(event.target) ? addressIn(event.clipboardData) : "";
    if (!file && !(address && this.dataset.addressUrl)) return;
    event.preventDefault();
    if (file) void this.upload(file);
    else void this.fetchFrom(address);
  };

  connectedCallback(): void {
    if (this.field === "image") {
      document.addEventListener("paste", this.pasted);
      this.stop = listen("studio:start-picture", ({ picture }) => this.put(picture));
    }
    this.file?.addEventListener("change", () => {
      const file = this.file?.files?.[0];
      if (file) void this.upload(file);
      if (this.file) this.file.value = ""; // the same file may be chosen again
    });
    this.addEventListener("click", (event) => {
      const action = (event.target as Element).closest<HTMLElement>("[data-action]")?.dataset.action;
      if (action === "remove") this.remove_();
      if (action === "open-address") this.openAddress();
      if (action === "fetch") void this.fetchFrom(this.address?.value ?? "");
    });
    this.address?.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.ctrlKey || event.metaKey || event.isComposing) return;
      event.preventDefault(); // it would press Generate
      void this.fetchFrom(this.address?.value ?? "");
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
      const address = file ? "" : addressIn(event.dataTransfer);
      if (file) void this.upload(file);
      else if (!this.dataset.addressUrl) return;
      else if (address) void this.fetchFrom(address);
      else this.say("What you dropped is no picture. Save the picture and choose the file.");
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
    this.stop();
  }

  private get field(): string {
    return this.dataset.field ?? "image";
  }

  private get noun(): string {
    return this.field === "mask" ? "mask" : "starting picture";
  }

  private get file(): HTMLInputElement | null {
    return this.querySelector<HTMLInputElement>('input[type="file"]');
  }

  private get value(): HTMLInputElement | null {
    return this.querySelector<HTMLInputElement>(`input[name="${this.field}"]`);
  }

  private get address(): HTMLInputElement | null {
    return part(this, "address")?.querySelector("input") ?? null;
  }

  async upload(file: File): Promise<void> {
    const body = new FormData();
    body.set("file", file);
    await this.send(this.dataset.url ?? "", body, "Sending the picture…", this.file);
  }

  /** Have the server fetch what lies at a web address. */
  async fetchFrom(address: string): Promise<void> {
    if (this.hasAttribute("data-busy") && this.asked === address) return; // pressed twice
    this.asked = address;
    const body = new URLSearchParams({ url: address.trim() });
    const isThere = await this.send(this.dataset.addressUrl ?? "", body, "Fetching the picture…", this.address);
    if (isThere && this.address?.value === address) this.address.value = "";
  }

  private openAddress(): void {
    const row = part(this, "address");
    if (!row) return;
    row.hidden = !row.hidden;
    this.querySelector('[data-action="open-address"]')?.setAttribute("aria-expanded", String(!row.hidden));
    if (!row.hidden) this.address?.focus();
  }

  /** Whether the picture is in the recipe now. A later one takes the place of an earlier one on its way. */
  private async send(url: string, body: FormData | URLSearchParams, text: string, from: HTMLElement | null): Promise<boolean> {
    this.uploads += 1;
    const mine = this.uploads;
    this.say("");
    this.toggleAttribute("data-busy", true);
    this.setText(text);
    announce(text);
    const answer = await ask(url, { method: "POST", body, accept: "application/json" });
    if (mine !== this.uploads) return false;
    this.toggleAttribute("data-busy", false);
    this.setText(null);
    if (answer.kind === "ok" && isUploaded(answer.json)) {
      this.put(this.field === "mask" ? (maskOf(answer.json) ?? answer.json) : answer.json);
      announce(`The ${this.noun} is in the recipe.`);
      return true;
    }
    this.say(sentenceOf(answer), from);
    return false;
  }

  /** Take a picture that lies in the workspace already. */
  put(picture: Uploaded | null): void {
    const value = this.value;
    this.draw(picture, true);
    if (!value) return;
    value.value = picture?.sha256 ?? "";
    value.dispatchEvent(new Event("input", { bubbles: true }));
  }

  private remove_(): void {
    this.put(null);
    this.file?.focus();
    announce(`The ${this.noun} is removed.`);
  }

  private draw(picture: Uploaded | null, byUser = false): void {
    const drop = part(this, "drop");
    const web = part(this, "web");
    const card = part(this, "card");
    const strength = part(this, "strength");
    const asItIs = [part(this, "upscale"), part(this, "cutout")];
    const shown = part<HTMLImageElement>(this, "picture");
    const facts = part(this, "facts");
    if (drop) drop.hidden = picture !== null;
    if (web) web.hidden = picture !== null;
    if (card) card.hidden = picture === null;
    if (strength) strength.hidden = picture === null;
    for (const row of asItIs) if (row) row.hidden = picture === null;
    if (shown) {
      shown.hidden = !picture?.url;
      if (picture?.url) shown.src = picture.url;
      else shown.removeAttribute("src");
    }
    if (facts) facts.textContent = picture?.width ? `${picture.width} × ${picture.height}` : `${picture?.sha256.slice(0, 12) ?? ""}…`;
    this.dispatchEvent(new CustomEvent("picture", { bubbles: true, detail: { picture, byUser } }));
  }

  private setText(text: string | null): void {
    const shown = part(this, "text");
    if (!shown) return;
    shown.dataset.idle ??= shown.innerHTML;
    if (text === null) shown.innerHTML = shown.dataset.idle;
    else shown.textContent = text;
  }

  private say(text: string, at: HTMLElement | null = this.file): void {
    const error = this.querySelector<HTMLElement>(`#error_${this.field}`);
    if (!error) return;
    error.textContent = text;
    error.hidden = text === "";
    for (const input of [this.file, this.address]) input?.removeAttribute("aria-invalid");
    if (!text) return;
    at?.setAttribute("aria-invalid", "true");
    announce(text);
  }
}

function sentenceOf(answer: Answer): string {
  if (answer.kind === "problems") return answer.problems.map((problem) => problem.message).join(" ");
  return answer.kind === "failed" ? answer.message : "That picture could not be read. Try another.";
}

/** Whether a paste belongs to a text that somebody writes. */
function isWriting(target: EventTarget | null): boolean {
  return target instanceof Element && target.closest('textarea, [contenteditable], input:not([type="file"])') !== null;
}

customElements.define("start-picture", StartPicture);
