/** The middle of the room: the pictures of one job, as large as they fit. */

import { announce, emit, listen, part, plural } from "../lib/dom";
import { isTerminal, type JobState } from "../lib/job-state";
import { useOutput } from "../lib/outputs";
import { bestGrid } from "../lib/stage-grid";
import { board, type StageView } from "../lib/tile-board";
import { cancelJob, JobTile } from "./job-tile";

const GAP = 12;
/** A small picture is shown at most this many times its size, so that it stays a picture. */
const LARGEST_ZOOM = 5;

export class StudioStage extends HTMLElement implements StageView {
  current: string | null = null;
  /** A job that was run again: its picture opens when it is done, because its verdict is the point. */
  private rerun: string | null = null;
  private observer: ResizeObserver | null = null;
  private stop: (() => void)[] = [];

  connectedCallback(): void {
    board.stage = this;
    this.stop = [
      listen("studio:show-job", ({ job, byUser }) => {
        this.show(job);
        if (byUser) emit("studio:view", { view: "stage" });
      }),
      listen("studio:submitted", ({ job, rerun }) => {
        this.rerun = rerun ? job : null;
        this.show(job);
        emit("studio:view", { view: "stage" });
      }),
      listen("studio:job-finished", ({ job }) => this.finished(job)),
      listen("studio:jobs-changed", () => this.describe()),
      listen("studio:queue-drawn", () => this.describe()),
      listen("studio:output-gone", ({ output }) => {
        for (const tile of this.tiles) if (tile.output === output) tile.hidden = true;
        this.lay();
        this.describe();
      }),
      listen("studio:output-restored", ({ output }) => {
        for (const tile of this.tiles) if (tile.output === output) tile.hidden = false;
        this.lay();
        this.describe();
      }),
    ];
    this.addEventListener("click", (event) => this.clicked(event));
    if (typeof ResizeObserver !== "undefined") {
      this.observer = new ResizeObserver(() => this.lay());
      this.observer.observe(this);
    }
    const newest = document.querySelector("#gallery job-tile");
    if (newest instanceof JobTile) this.show(newest.job);
  }

  disconnectedCallback(): void {
    this.observer?.disconnect();
    for (const stop of this.stop) stop();
    if (board.stage === this) board.stage = null;
  }

  get tiles(): JobTile[] {
    return [...this.querySelectorAll("job-tile")].filter((tile): tile is JobTile => tile instanceof JobTile);
  }

  /** Put a job on the stage. */
  show(job: string): void {
    if (job !== this.current) {
      this.current = job;
      part(this, "tiles")?.replaceChildren();
      const known = board.tilesOf(job).filter((tile) => !tile.hidden);
      if (known.length) this.receive(known);
      else void board.refresh(job);
    }
    emit("studio:close-viewer", {});
    this.describe();
  }

  /** Tiles that came from the server; those of the job on the stage are kept, a newer own job takes the stage. */
  receive(tiles: readonly JobTile[]): void {
    const newest = tiles.find((tile) => tile.job !== this.current && !isTerminal(tile.status));
    if (newest && newest.dataset.other === undefined && this.isFree()) this.current = newest.job;
    const room = part(this, "tiles");
    if (!room) return;
    for (const tile of this.tiles) if (tile.job !== this.current) tile.remove();
    for (const tile of tiles) {
      if (tile.job !== this.current || this.tiles.some((here) => here.index === tile.index)) continue;
      const copy = tile.cloneNode(true) as JobTile;
      copy.dataset.large = "";
      copy.querySelector(".tile__preview")?.remove();
      const next = this.tiles.find((here) => here.index > tile.index);
      if (next) next.before(copy);
      else room.append(copy);
    }
    if (this.current) board.showLatestPreview(this.current);
    this.lay();
    this.describe();
  }

  progress(job: JobState): void {
    if (job.id === this.current) this.describe();
  }

  /** The stage is free when nobody is looking at one picture and nothing on it is being made. */
  private isFree(): boolean {
    const viewer = document.getElementById("viewer");
    return (!viewer || viewer.hidden) && this.tiles.every((tile) => isTerminal(tile.status));
  }

  private lay(): void {
    const tiles = this.tiles.filter((tile) => !tile.hidden);
    const room = part(this, "tiles");
    const empty = part(this, "empty");
    if (empty) empty.hidden = tiles.length > 0;
    this.toggleAttribute("data-empty", tiles.length === 0);
    const first = tiles[0];
    const box = room?.parentElement;
    if (!room || !box || !first) return;
    const cell = bestGrid(tiles.length, first.ratio, box.clientWidth, box.clientHeight, GAP);
    const most = Math.max(Number(first.dataset.width) * LARGEST_ZOOM, 240);
    room.style.setProperty("--columns", String(cell.columns));
    room.style.setProperty("--cell", `${Math.max(64, Math.min(cell.width, most))}px`);
  }

  private describe(): void {
    const tiles = this.tiles.filter((tile) => !tile.hidden);
    const strip = part(this, "strip");
    const status = part(this, "status");
    const first = tiles[0];
    if (!strip || !status) return;
    strip.hidden = !first;
    if (!first) return;
    status.textContent = this.sentence(tiles, first);
    const cancel = part(this, "cancel");
    if (cancel) cancel.hidden = !tiles.some((tile) => tile.canCancel);
    const parameters = part(this, "parameters");
    if (parameters) parameters.hidden = !tiles.every((tile) => isTerminal(tile.status));
  }

  private sentence(tiles: readonly JobTile[], first: JobTile): string {
    const count = tiles.length;
    const size = `${first.dataset.width} × ${first.dataset.height}`;
    const made = tiles.filter((tile) => tile.status === "succeeded").length;
    if (tiles.every((tile) => isTerminal(tile.status))) {
      if (tiles.some((tile) => tile.status === "failed")) return made ? `${made} of ${count} made, then it failed` : "Failed";
      if (tiles.some((tile) => tile.status === "canceled")) return made ? `Canceled after ${made} of ${count}` : "Canceled";
      return `${plural(count, "picture")}, ${size}`;
    }
    const job = board.jobs.get(first.job);
    if (job?.status === "running") {
      const which = count > 1 ? `picture ${job.index + 1} of ${count}` : "the picture";
      return job.step > 0 ? `Making ${which}, step ${job.step} of ${job.steps}` : `Starting ${which}`;
    }
    const line = document.querySelector(`#queue-${CSS.escape(first.job)} .queue__state`)?.textContent;
    return line?.replace(/\s+/g, " ").trim() || "Waiting for its turn";
  }

  private finished(job: string): void {
    if (job !== this.rerun) return;
    this.rerun = null;
    const tile = this.tiles.find((here) => here.status === "succeeded");
    const viewer = document.getElementById("viewer");
    if (job === this.current && tile && (!viewer || viewer.hidden)) emit("studio:open-picture", { url: tile.url });
  }

  private clicked(event: MouseEvent): void {
    const target = event.target as Element;
    const example = target.closest<HTMLElement>("[data-example]");
    if (example) {
      emit("studio:use-parameters", { values: { prompt: example.dataset.example }, part: "prompt" });
      announce("The example is in the prompt.");
      return;
    }
    const button = target.closest<HTMLButtonElement>(".stage__strip button");
    if (!button || !this.current) return;
    if (button.dataset.action === "cancel") void cancelJob(this.current, button);
    else this.useParameters();
  }

  private useParameters(): void {
    const picture = this.tiles.find((tile) => tile.output);
    if (picture) void useOutput(`${picture.url}/parameters`, "all");
    else if (this.current) emit("studio:use-job", { job: this.current, submit: false });
  }
}

customElements.define("studio-stage", StudioStage);
