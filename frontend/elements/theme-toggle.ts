/** Dark, light, or as the system has it; remembered in this browser. */

import { announce } from "../lib/dom";

const KEY = "studio.theme"; // plain text: static/theme.js reads it before the first paint
const WORDS = { auto: "as the system has it", dark: "dark", light: "light" };
type Theme = keyof typeof WORDS;

export class ThemeToggle extends HTMLElement {
  connectedCallback(): void {
    this.querySelector("button")?.addEventListener("click", () => this.turn());
    this.describe();
  }

  private get theme(): Theme {
    const set = document.documentElement.dataset.theme;
    return set === "dark" || set === "light" ? set : "auto";
  }

  /** The first press always changes what is seen; a third one goes back to the system's. */
  private turn(): void {
    const systemIsDark = window.matchMedia("(prefers-color-scheme: dark)").matches;
    const order: Theme[] = systemIsDark ? ["auto", "light", "dark"] : ["auto", "dark", "light"];
    const next = order[(order.indexOf(this.theme) + 1) % order.length] ?? "auto";
    if (next === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    try {
      if (next === "auto") localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, next);
    } catch {
      // not remembered, but changed
    }
    this.describe();
    announce(`Theme: ${WORDS[next]}.`);
  }

  private describe(): void {
    const button = this.querySelector("button");
    const words = this.querySelector(".visually-hidden");
    if (button) button.title = `Theme: ${WORDS[this.theme]}`;
    if (words) words.textContent = `Theme: ${WORDS[this.theme]}. Change`;
  }
}

customElements.define("theme-toggle", ThemeToggle);
