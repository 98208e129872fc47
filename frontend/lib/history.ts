/** The prompts of one workspace that this person sent, newest first, with a cursor as in a shell. */

import { readPrivate, writePrivate } from "./store";

export const HISTORY_MAX = 50;

export class PromptHistory {
  private cursor = -1;
  private unsent = "";

  constructor(private readonly workspace: string) {}

  get entries(): string[] {
    const kept = readPrivate("browser", this.key);
    return Array.isArray(kept) ? kept.filter((entry): entry is string => typeof entry === "string") : [];
  }

  /** Remember a sent prompt; the same prompt again moves to the front. */
  add(prompt: string): void {
    const text = prompt.trim();
    if (!text) return;
    const others = this.entries.filter((entry) => entry !== text);
    writePrivate("browser", this.key, [text, ...others].slice(0, HISTORY_MAX));
    this.cursor = -1;
  }

  /** One step back; null when there is nothing older. `current` is kept for the way forward. */
  older(current: string): string | null {
    const entries = this.entries;
    if (this.cursor === -1) this.unsent = current;
    let at = this.cursor + 1;
    if (this.cursor === -1 && entries[at] === current.trim()) at += 1;
    const found = entries[at];
    if (found === undefined) return null;
    this.cursor = at;
    return found;
  }

  /** One step forward, at last to what was being written. */
  newer(): string | null {
    if (this.cursor === -1) return null;
    this.cursor -= 1;
    return this.cursor === -1 ? this.unsent : (this.entries[this.cursor] ?? null);
  }

  /** Typing leaves the history. */
  reset(): void {
    this.cursor = -1;
  }

  clear(): void {
    writePrivate("browser", this.key, []);
    this.cursor = -1;
  }

  private get key(): string {
    return `history.${this.workspace}`;
  }
}
