/**
 * A page of numbers that keeps itself up to date: asks `data-url` every `data-seconds` for the same HTML and takes
 * over what has changed, part by part (`data-live`), in rows that are known by their key (`data-list`, `data-key`).
 * A part in which somebody is (focus, an open menu, a selection) is left alone until they have gone.
 */

import { parseFragment, part } from "../lib/dom";
import { ask } from "../lib/http";

const SLOWEST_MS = 30_000;

/** Take over into `shown` what differs in `fresh`. */
export function takeOver(shown: ParentNode, fresh: ParentNode): void {
  for (const list of lists(fresh)) {
    const known = lists(shown).find((each) => each.dataset.list === list.dataset.list);
    if (known) takeOverRows(known, list);
  }
  takeOverParts(shown, fresh);
}

function lists(root: ParentNode): HTMLElement[] {
  return [...root.querySelectorAll<HTMLElement>("[data-list]")];
}

function rows(list: HTMLElement): HTMLElement[] {
  return [...list.children].filter((row): row is HTMLElement => row instanceof HTMLElement && row.dataset.key !== undefined);
}

function takeOverRows(shown: HTMLElement, fresh: HTMLElement): void {
  const known = new Map(rows(shown).map((row) => [row.dataset.key, row]));
  let before: HTMLElement | null = null;
  for (const row of rows(fresh)) {
    const same = known.get(row.dataset.key);
    known.delete(row.dataset.key);
    if (same) {
      takeOverParts(same, row);
      for (const [name, value] of Object.entries(row.dataset)) same.dataset[name] = value;
    }
    const place: Element | null = before ? before.nextElementSibling : shown.firstElementChild;
    const here = same ?? row;
    // Moving an element takes the focus from it: who stays where they are is not touched.
    if (here !== place) shown.insertBefore(here, place);
    before = here;
  }
  for (const gone of known.values()) gone.remove();
}

/** The parts of `root` itself, not those of rows inside it. */
function parts(root: ParentNode): Map<string, HTMLElement> {
  const row = root instanceof HTMLElement && root.dataset.key !== undefined ? root : null;
  const found = [...root.querySelectorAll<HTMLElement>("[data-live]")];
  return new Map(found.filter((each) => each.closest("[data-key]") === row).map((each) => [each.dataset.live ?? "", each]));
}

function takeOverParts(shown: ParentNode, fresh: ParentNode): void {
  const known = parts(shown);
  for (const [name, next] of parts(fresh)) {
    const now = known.get(name);
    // A form's token is another one in every answer, and as good as the one before.
    const source = next.innerHTML.replace(/(csrfmiddlewaretoken" value)="[^"]*"/g, "$1");
    if (!now || sources.get(now) === source || isInUse(now)) continue;
    sources.set(now, source);
    now.replaceChildren(...next.childNodes);
  }
}

/** What each part was last made from: elements inside may have changed their own text since. */
const sources = new WeakMap<HTMLElement, string>();

function isInUse(element: HTMLElement): boolean {
  const selection = getSelection();
  const isSelected = selection !== null && !selection.isCollapsed && selection.containsNode(element, true);
  return isSelected || element.contains(document.activeElement) || element.querySelector("details[open]") !== null;
}

export class LiveBoard extends HTMLElement {
  private timer: ReturnType<typeof setTimeout> | undefined;
  private failures = 0;
  private readonly onShow = (): void => {
    if (!document.hidden) this.again(0);
  };

  connectedCallback(): void {
    document.addEventListener("visibilitychange", this.onShow);
    this.again(this.pause);
  }

  disconnectedCallback(): void {
    document.removeEventListener("visibilitychange", this.onShow);
    clearTimeout(this.timer);
  }

  private get pause(): number {
    return Number(this.dataset.seconds ?? "2") * 1_000;
  }

  private again(milliseconds: number): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.refresh(), milliseconds);
  }

  async refresh(): Promise<void> {
    if (document.hidden) return; // looked at again, it asks at once
    const answer = await ask(this.dataset.url ?? "");
    if (!this.isConnected) return;
    if (answer.kind === "ok") {
      this.failures = 0;
      this.removeAttribute("data-stale");
      const fresh = parseFragment(answer.text);
      const said = part(fresh, "said");
      part(this, "said")?.replaceChildren(...(said?.childNodes ?? []));
      takeOver(this, fresh);
    } else {
      this.failures += 1;
      if (!this.hasAttribute("data-stale")) {
        this.setAttribute("data-stale", "");
        part(this, "said")?.prepend("Not live any more. ");
      }
      if (answer.kind === "failed" && [401, 403, 404].includes(answer.status)) return;
    }
    this.again(Math.min(SLOWEST_MS, this.pause * 2 ** this.failures));
  }
}

customElements.define("live-board", LiveBoard);
