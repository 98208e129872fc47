/**
 * A form that is sent once the person has shown a passkey (`data-ceremony="get"`) or made one (`"create"`).
 *
 * The server's options lie in the page (`data-options`: the id of a JSON element) or are asked for when the
 * button is pressed (`data-options-url`).
 */

import { type CreationJson, creationOptions, credentialJson, type RequestJson, requestOptions } from "../lib/webauthn";

const SENTENCES: Readonly<Record<string, string>> = {
  NotAllowedError: "Nothing was chosen, or it took too long. Press the button again.",
  InvalidStateError: "This device already holds a passkey for your account.",
  SecurityError: "The browser takes no passkeys at this address. Use the studio’s own name, over HTTPS.",
  NotSupportedError: "This device cannot make such a passkey. Try the other kind.",
  AbortError: "It was broken off. Press the button again.",
};

export class PasskeyForm extends HTMLElement {
  private busy = false;

  connectedCallback(): void {
    this.form?.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.run();
    });
    if (!("credentials" in navigator) || !("PublicKeyCredential" in window)) {
      this.say("This browser knows no passkeys at this address.");
      const button = this.querySelector("button");
      if (button) button.disabled = true;
    }
  }

  private get form(): HTMLFormElement | null {
    return this.querySelector("form");
  }

  private async run(): Promise<void> {
    const field = this.querySelector<HTMLInputElement>('input[name="credential"]');
    if (this.busy || !field) return;
    this.busy = true;
    this.say("");
    this.querySelector("button")?.setAttribute("aria-busy", "true");
    try {
      const credential = await this.ceremony();
      if (!credential) throw new DOMException("", "NotAllowedError");
      field.value = credentialJson(credential as PublicKeyCredential);
      this.form?.submit();
    } catch (error) {
      const name = error instanceof Error || error instanceof DOMException ? error.name : "";
      this.say(SENTENCES[name] ?? "That did not work. Press the button again.");
      this.busy = false;
      this.querySelector("button")?.removeAttribute("aria-busy");
    }
  }

  private async ceremony(): Promise<Credential | null> {
    const options = await this.options();
    if (this.dataset.ceremony === "create") {
      const alone = new FormData(this.form ?? undefined).get("passwordless") === "on";
      return navigator.credentials.create({ publicKey: creationOptions(options as CreationJson, alone) });
    }
    return navigator.credentials.get({ publicKey: requestOptions(options as RequestJson) });
  }

  private async options(): Promise<unknown> {
    const url = this.dataset.optionsUrl;
    if (!url) return JSON.parse(document.getElementById(this.dataset.options ?? "")?.textContent ?? "");
    const answer = await fetch(url, { headers: { Accept: "application/json" }, credentials: "same-origin" });
    if (!answer.ok) throw new Error(String(answer.status));
    return ((await answer.json()) as { request_options: unknown }).request_options;
  }

  private say(text: string): void {
    const error = this.querySelector<HTMLElement>('[data-part="error"]');
    if (!error) return;
    error.textContent = text;
    error.hidden = !text;
  }
}

customElements.define("passkey-form", PasskeyForm);
