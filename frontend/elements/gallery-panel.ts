/** The gallery: all pictures newest first, or the trash; arrow keys walk over it. */

import htmx from "htmx.org";

import { announce, emit, listen, parseFragment, part, plural } from "../lib/dom";
import { type Answer, ask } from "../lib/http";
import { chosenProject, recallProject, rememberProject } from "../lib/project";
import { roomAddresses } from "../lib/room";
import { board } from "../lib/tile-board";
import { JobTile } from "./job-tile";

const TYPING_PAUSE = 300;

export class GalleryPanel extends HTMLElement {
  /** Pictures that left while this page is open: a restored one comes back at once. */
  private readonly left = new Map<string, JobTile>();
  /** The page that is being fetched; `isStale` when pictures moved in the meantime. */
  private showing: { isStale: boolean } | null = null;
  private total: number | null = null;
  private inTrash: number | null = null;
  private observer: MutationObserver | null = null;
  private typing: ReturnType<typeof setTimeout> | undefined;
  private stop: (() => void)[] = [];

  connectedCallback(): void {
    this.readFacts();
    this.addEventListener("click", (event) => {
      if ((event.target as Element).closest('[data-action="toggle-trash"]')) void this.show(!this.isTrash);
    });
    this.addEventListener("keydown", (event) => this.walk(event));
    this.addEventListener("focusin", (event) => this.rove(event.target as Element));
    this.stop = [
      listen("studio:output-gone", ({ output }) => this.moved(output, true)),
      listen("studio:output-restored", ({ output }) => this.moved(output, false)),
      listen("studio:output-placed", ({ output, project }) => this.placed(output, project)),
      listen("studio:output-made", ({ output }) => this.made(output)),
    ];
    this.startFilters();
    this.observer = new MutationObserver(() => this.changed());
    this.observer.observe(this.grid, { childList: true, subtree: true });
    this.changed();
  }

  disconnectedCallback(): void {
    this.observer?.disconnect();
    for (const stop of this.stop) stop();
    clearTimeout(this.typing);
  }

  private startFilters(): void {
    const { workspace } = roomAddresses();
    part(this, "project")?.addEventListener("change", () => {
      rememberProject(workspace, this.project);
      this.choose();
    });
    const search = part<HTMLInputElement>(this, "search");
    search?.addEventListener("input", () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => void this.show(this.isTrash), TYPING_PAUSE);
    });
    search?.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      clearTimeout(this.typing);
      void this.show(this.isTrash);
    });
    if (recallProject(workspace)) this.choose();
  }

  private choose(): void {
    emit("studio:project", chosenProject());
    const share = part<HTMLAnchorElement>(this, "share");
    if (share) share.search = this.project ? `?project=${encodeURIComponent(this.project)}` : "";
    void this.show(this.isTrash);
  }

  private get project(): string {
    return part<HTMLSelectElement>(this, "project")?.value ?? "";
  }

  private get query(): string {
    return part<HTMLInputElement>(this, "search")?.value.trim() ?? "";
  }

  private get isFiltered(): boolean {
    return this.project !== "" || this.query !== "";
  }

  get isTrash(): boolean {
    return this.grid.dataset.trash === "1";
  }

  private get grid(): HTMLElement {
    const grid = this.querySelector<HTMLElement>("#gallery");
    if (!grid) throw new Error("gallery-panel holds no gallery");
    return grid;
  }

  private get tiles(): JobTile[] {
    return [...this.grid.querySelectorAll("job-tile")].filter((tile): tile is JobTile => tile instanceof JobTile);
  }

  /** Show the trash or the pictures, fetched anew. */
  async show(trash: boolean): Promise<void> {
    const mine = { isStale: false };
    this.showing = mine;
    this.grid.setAttribute("aria-busy", "true");
    let answer: Answer;
    do {
      mine.isStale = false;
      answer = await this.fetch(trash);
    } while (mine.isStale);
    if (this.showing !== mine) return; // another press came after this one
    this.showing = null;
    this.grid.removeAttribute("aria-busy");
    if (answer.kind !== "ok") {
      emit("studio:toast", { text: answer.kind === "failed" ? answer.message : "The gallery could not be read.", bad: true });
      return;
    }
    this.left.clear();
    this.grid.dataset.trash = trash ? "1" : "0";
    this.grid.replaceChildren(document.importNode(parseFragment(answer.text), true));
    htmx.process(this.grid);
    this.querySelector('[data-action="toggle-trash"]')?.setAttribute("aria-pressed", String(trash));
    this.readFacts();
    this.changed();
    if (this.query) announce(`${plural((trash ? this.inTrash : this.total) ?? 0, "picture")} found.`);
  }

  /** Words of prompts are posted: they belong in no address. */
  private fetch(trash: boolean): Promise<Answer> {
    if (!this.isFiltered) return ask((trash ? this.dataset.trashUrl : this.dataset.url) ?? "");
    const body = new URLSearchParams({ q: this.query, project: this.project, trash: trash ? "1" : "" });
    return ask(this.dataset.url ?? "", { method: "POST", body });
  }

  private made(output: string): void {
    const tile = this.tiles.find((other) => other.output === output);
    const counts = !this.isFiltered || (tile !== undefined && !this.isStranger(tile));
    if (counts && this.total !== null) this.total += 1;
    this.changed();
  }

  /** A picture was put into another project: it leaves what does not show that one. */
  private placed(output: string, project: string): void {
    const tile = this.tiles.find((other) => other.output === output);
    if (!this.project || this.isTrash) {
      if (tile) tile.dataset.project = project;
      return;
    }
    void this.show(false);
  }

  /** What a message brings may not be what is looked for here. */
  private isStranger(tile: JobTile): boolean {
    if (this.query && tile.dataset.found === undefined) return true;
    return this.project !== "" && tile.dataset.project !== this.project;
  }

  /** A picture went to the trash or came back, here or in another tab. */
  private moved(output: string, gone: boolean): void {
    if (this.showing) this.showing.isStale = true;
    const here = this.tiles.find((tile) => tile.output === output);
    if (gone !== this.isTrash) this.takeAway(output, here);
    else if (!here && !this.showing) this.bringBack(output);
    else return; // it is where it belongs: the socket says what this page did itself
    this.changed();
  }

  private takeAway(output: string, tile: JobTile | undefined): void {
    if (!tile) return;
    const hadFocus = tile.contains(document.activeElement);
    const next = this.neighbour(tile);
    tile.remove();
    this.left.set(output, tile);
    this.count(this.isTrash ? -1 : 1);
    if (hadFocus) next?.querySelector<HTMLElement>(".tile__frame")?.focus();
  }

  private bringBack(output: string): void {
    const tile = this.left.get(output);
    if (!tile || this.isTrash) {
      void this.show(this.isTrash);
      return;
    }
    this.left.delete(output);
    board.place([tile]);
    this.count(-1);
  }

  /** `trashed` pictures more in the trash, and as many fewer in the gallery. */
  private count(trashed: number): void {
    if (this.total !== null) this.total -= trashed;
    this.inTrash = Math.max(0, (this.inTrash ?? 0) + trashed);
  }

  private neighbour(tile: JobTile | undefined): JobTile | undefined {
    if (!tile) return undefined;
    const tiles = this.tiles;
    const at = tiles.indexOf(tile);
    return tiles[at + 1] ?? tiles[at - 1];
  }

  private readFacts(): void {
    for (const facts of this.querySelectorAll<HTMLElement>("[data-gallery-facts]")) {
      if (facts.dataset.total) {
        if (facts.dataset.trash === "1") this.inTrash = Number(facts.dataset.total);
        else this.total = Number(facts.dataset.total);
      }
      if (facts.dataset.trashTotal) this.inTrash = Number(facts.dataset.trashTotal);
    }
    this.inTrash ??= 0;
  }

  /** A page of older pictures may hold one that a message has brought already. */
  private dropDoubles(): void {
    const seen = new Set<string>();
    for (const tile of this.grid.querySelectorAll<JobTile>("job-tile")) {
      const name = `${tile.job}/${tile.index}`;
      if (seen.has(name) || (!this.showing && this.isStranger(tile))) tile.remove();
      seen.add(name);
    }
  }

  private changed(): void {
    this.dropDoubles();
    const tiles = this.tiles;
    const empty = part(this, "empty");
    if (empty) {
      empty.hidden = tiles.length > 0;
      empty.textContent = this.emptySentence();
    }
    const note = part(this, "trash-note");
    if (note) note.hidden = !this.isTrash || tiles.length === 0;
    const label = part(this, "trash-label");
    if (label) label.textContent = this.isTrash ? "Back to the gallery" : this.inTrash ? `${this.inTrash} in trash` : "Trash";
    const title = this.querySelector(".panel__title");
    if (title) title.textContent = this.isTrash ? "Trash" : "Gallery";
    const total = part(this, "total");
    if (total) total.textContent = this.isTrash ? String(this.inTrash || "") : String(this.total || "");
    if (!tiles.some((tile) => tile.querySelector('.tile__frame[tabindex="0"]'))) this.rove(tiles[0] ?? null);
  }

  private emptySentence(): string {
    if (this.query) return "No picture was made with all of these words. Whole words are compared.";
    if (this.project) return this.isTrash ? "Nothing of this project is in the trash." : "Nothing is in this project yet.";
    return this.isTrash ? "The trash is empty." : "Pictures land here, newest first.";
  }

  /** One stop in the tab order; arrow keys do the rest. */
  private rove(target: Element | null): void {
    const tile = target?.closest("job-tile");
    if (!tile || !this.grid.contains(tile)) return;
    for (const frame of this.grid.querySelectorAll(".tile__frame, .tile__tool")) {
      const tabindex = tile.contains(frame) ? "0" : "-1";
      if (frame.getAttribute("tabindex") !== tabindex) frame.setAttribute("tabindex", tabindex);
    }
  }

  private walk(event: KeyboardEvent): void {
    const tile = (event.target as Element).closest("job-tile");
    if (!(tile instanceof JobTile) || event.altKey || event.ctrlKey || event.metaKey) return;
    const tiles = this.tiles;
    const at = tiles.indexOf(tile);
    const columns = Math.max(1, getComputedStyle(this.grid).gridTemplateColumns.split(" ").length);
    const steps: Record<string, number> = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
    const to =
      event.key === "Home" ? 0 : event.key === "End" ? tiles.length - 1 : at + (steps[event.key] ?? Number.NaN);
    if (event.key === "Delete" && tile.output) {
      event.preventDefault();
      tile.querySelector<HTMLElement>(`[data-action="${this.isTrash ? "restore" : "trash"}"]`)?.click();
      return;
    }
    const next = tiles[to];
    if (!next) return;
    event.preventDefault();
    next.querySelector<HTMLElement>(".tile__frame")?.focus();
  }
}

customElements.define("gallery-panel", GalleryPanel);
