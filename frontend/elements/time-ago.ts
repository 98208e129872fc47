/** A point in time as people say it; the exact one is in its tooltip. */

const STEPS: readonly [Intl.RelativeTimeFormatUnit, number][] = [
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
];

/** `seconds` ago, in words. Pure. */
export function timeAgo(seconds: number): string {
  const words = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  for (const [unit, length] of STEPS) if (seconds >= length) return words.format(-Math.floor(seconds / length), unit);
  return "just now";
}

export class TimeAgo extends HTMLElement {
  private timer: ReturnType<typeof setInterval> | undefined;

  connectedCallback(): void {
    const at = new Date(this.getAttribute("datetime") ?? "");
    if (Number.isNaN(at.getTime())) return;
    this.title = at.toLocaleString();
    const draw = (): void => {
      this.textContent = timeAgo((Date.now() - at.getTime()) / 1_000);
    };
    draw();
    this.timer = setInterval(draw, 30_000);
  }

  disconnectedCallback(): void {
    clearInterval(this.timer);
  }
}

customElements.define("time-ago", TimeAgo);
