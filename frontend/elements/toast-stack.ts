/** Short notices in the corner, with at most one thing to do; they wait while someone points at them. */

import { announce, listen, type StudioEvents } from "../lib/dom";

export const TOAST_MS = 5_000;

export class ToastStack extends HTMLElement {
  private stop: () => void = () => undefined;

  connectedCallback(): void {
    this.stop = listen("studio:toast", (notice) => this.add(notice));
  }

  disconnectedCallback(): void {
    this.stop();
  }

  private add({ text, action, bad }: StudioEvents["studio:toast"]): void {
    const toast = document.createElement("div");
    toast.className = bad ? "toast toast--bad" : "toast";
    const words = document.createElement("p");
    words.className = "toast__text";
    words.textContent = text;
    toast.append(words);
    if (action) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "button button--small";
      button.textContent = action.label;
      button.addEventListener("click", () => {
        toast.remove();
        action.run();
      });
      toast.append(button);
    }
    this.append(toast);
    announce(action ? `${text} ${action.label} is offered.` : text);
    let timer = setTimeout(() => toast.remove(), TOAST_MS);
    const hold = (): void => clearTimeout(timer);
    const go = (): void => {
      clearTimeout(timer);
      timer = setTimeout(() => toast.remove(), TOAST_MS);
    };
    toast.addEventListener("pointerenter", hold);
    toast.addEventListener("pointerleave", go);
    toast.addEventListener("focusin", hold);
    toast.addEventListener("focusout", go);
  }
}

customElements.define("toast-stack", ToastStack);
