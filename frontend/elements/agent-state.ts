/** The state of the line and of the agents, in a few words. */

import { announce, type LinkState, listen } from "../lib/dom";

/** The words, and how good the news is. Pure. */
export function describeState(link: LinkState, warm: number, connected: number): { text: string; mood: "good" | "wait" | "bad" } {
  if (link === "offline") return { text: "Offline: nothing is lost", mood: "bad" };
  if (link === "signed-out") return { text: "Signed out: sign in again", mood: "bad" };
  if (link === "no-access") return { text: "This room is closed to you", mood: "bad" };
  if (link === "reconnecting") return { text: "Reconnecting…", mood: "bad" };
  if (warm > 0) return { text: "Model warm", mood: "good" };
  if (connected > 0) return { text: "Model loading", mood: "wait" };
  return { text: "No agent connected", mood: "bad" };
}

export class AgentState extends HTMLElement {
  private stop: (() => void)[] = [];

  connectedCallback(): void {
    this.stop = [
      listen("studio:agents", ({ warm, connected }) => {
        this.dataset.warm = String(warm);
        this.dataset.connected = String(connected);
        this.draw();
      }),
      listen("studio:link", ({ state }) => {
        const before = this.dataset.link;
        this.dataset.link = state;
        this.draw();
        if (state === "live" && (before === "reconnecting" || before === "offline")) announce("Connected again.");
        else if (state === "reconnecting" || state === "offline") announce("The connection is lost. Trying again.");
      }),
    ];
    this.draw();
  }

  disconnectedCallback(): void {
    for (const stop of this.stop) stop();
  }

  private draw(): void {
    const link = (this.dataset.link ?? "connecting") as LinkState;
    const { text, mood } = describeState(link, Number(this.dataset.warm), Number(this.dataset.connected));
    this.dataset.mood = mood;
    this.textContent = text;
  }
}

customElements.define("agent-state", AgentState);
