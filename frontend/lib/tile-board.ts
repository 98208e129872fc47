/** Keeps every tile on the page as the server has it: the socket notifies, this fetches and replaces in place. */

import { JobTile } from "../elements/job-tile";
import { announce, emit, parseFragment } from "./dom";
import type { PreviewFrame } from "./frames";
import { ask } from "./http";
import { isTerminal, type JobState, needsFetch, type Status } from "./job-state";
import { jobAddress } from "./room";

/** The stage: it shows one job large and takes tiles that the gallery does not hold. */
export interface StageView {
  readonly current: string | null;
  receive(tiles: readonly JobTile[]): void;
  progress(job: JobState): void;
}

/** After the server was away, look again: half a minute in all, and not all tabs at once. */
const TRIES = 5;
const FIRST_PAUSE_MS = 1_000;

/** Whether an answer may be another one in a while. */
function passes(status: number): boolean {
  return status === 0 || status === 429 || status >= 500;
}

export class TileBoard {
  readonly jobs = new Map<string, JobState>();
  stage: StageView | null = null;
  /** What each job was last fetched for by a progress message: a trashed tile stays missing, and one look is enough. */
  private readonly looked = new Map<string, string>();
  /** The latest preview of each job: it may come before its tile does. */
  private readonly previews = new Map<string, PreviewFrame>();
  private readonly fetching = new Map<string, { again: boolean }>();
  private readonly tries = new Map<string, number>();

  /** Every tile of a job, in the gallery and on the stage. */
  tilesOf(job: string): JobTile[] {
    return [...document.querySelectorAll("job-tile")].filter(
      (tile): tile is JobTile => tile instanceof JobTile && tile.job === job,
    );
  }

  /** All jobs that run or wait, as the server has them after a connect. */
  snapshot(jobs: readonly JobState[]): void {
    this.looked.clear();
    const alive = new Set(jobs.map((job) => job.id));
    // What runs comes first: it takes the stage.
    for (const job of [...jobs].sort((a, b) => Number(b.status === "running") - Number(a.status === "running"))) {
      this.jobs.set(job.id, job);
      if (needsFetch(job, uniqueStates(this.tilesOf(job.id)))) void this.refresh(job.id);
      this.draw(job);
    }
    for (const tile of document.querySelectorAll("job-tile")) {
      if (!(tile instanceof JobTile) || isTerminal(tile.status) || alive.has(tile.job)) continue;
      this.jobs.delete(tile.job);
      void this.refresh(tile.job); // it ended while this page was away
    }
  }

  progress(job: JobState): void {
    this.jobs.set(job.id, job);
    const look = `${job.index}/${job.count}`;
    if (this.looked.get(job.id) !== look && needsFetch(job, uniqueStates(this.tilesOf(job.id)))) {
      this.looked.set(job.id, look);
      void this.refresh(job.id);
    }
    this.draw(job);
  }

  changed(job: string, status: Status | null): void {
    const known = this.jobs.get(job);
    if (known && status) this.jobs.set(job, { ...known, status });
    void this.refresh(job);
  }

  preview(frame: PreviewFrame): void {
    this.previews.set(frame.job, frame);
    for (const tile of this.tilesOf(frame.job)) if (tile.index === frame.index) tile.showPreview(frame.picture);
  }

  /** Fetch the tiles of a job; calls while one is under way lead to one more fetch after it. */
  async refresh(job: string): Promise<void> {
    const busy = this.fetching.get(job);
    if (busy) {
      busy.again = true;
      return;
    }
    const state = { again: false };
    this.fetching.set(job, state);
    try {
      do {
        state.again = false;
        const answer = await ask(jobAddress(job, "tile"));
        if (answer.kind === "failed" && passes(answer.status)) {
          this.refreshLater(job);
          continue;
        }
        this.tries.delete(job);
        if (answer.kind === "ok") this.apply(answer.text, { whole: job });
        else if (answer.kind === "failed" && answer.status === 404) this.remove(job);
      } while (state.again);
    } finally {
      this.fetching.delete(job);
      emit("studio:jobs-changed", { job });
    }
  }

  /** Nobody will ring again for what has changed already. */
  private refreshLater(job: string): void {
    const tried = this.tries.get(job) ?? 0;
    if (tried >= TRIES) {
      this.tries.delete(job);
      return;
    }
    this.tries.set(job, tried + 1);
    setTimeout(() => void this.refresh(job), FIRST_PAUSE_MS * 2 ** tried * (0.5 + Math.random() / 2));
  }

  /**
   * Put fetched tiles in place of those that are here, new ones at the front of the gallery.
   * `whole` says that the HTML holds all tiles of that job, so that others of it are gone.
   * Answers the jobs it met.
   */
  apply(html: string, { whole }: { whole?: string } = {}): string[] {
    const fresh = [...parseFragment(html).querySelectorAll("job-tile")].map(
      (tile) => document.importNode(tile, true) as JobTile,
    );
    const before = new Map<string, Map<number, Status>>();
    for (const tile of fresh) if (!before.has(tile.job)) before.set(tile.job, this.statuses(tile.job));
    const unplaced: JobTile[] = [];
    for (const tile of fresh) {
      const here = this.tilesOf(tile.job).filter((other) => other.index === tile.index);
      for (const other of here) other.adopt(tile.cloneNode(true) as JobTile);
      if (!here.some((other) => other.closest("#gallery"))) unplaced.push(tile);
    }
    if (whole) this.dropMissing(whole, fresh);
    this.place(unplaced);
    this.stage?.receive(fresh);
    for (const [job, known] of before) this.tell(job, known);
    for (const job of before.keys()) {
      const state = this.jobs.get(job);
      if (state) this.draw(state);
      this.showLatestPreview(job);
    }
    return [...before.keys()];
  }

  /** Give tiles that have none yet the latest preview of their job. */
  showLatestPreview(job: string): void {
    const frame = this.previews.get(job);
    if (!frame) return;
    for (const tile of this.tilesOf(job)) {
      if (tile.index === frame.index && !tile.hasPreview) tile.showPreview(frame.picture);
    }
  }

  /** Put tiles where they belong in the gallery. */
  place(tiles: readonly JobTile[]): void {
    const gallery = document.getElementById("gallery");
    if (!gallery || gallery.dataset.trash === "1") return;
    const jobs = [...new Set(tiles.map((tile) => tile.job))];
    for (const job of jobs) {
      const added = tiles.filter((tile) => tile.job === job).sort((a, b) => a.index - b.index);
      for (const tile of added) {
        const siblings = [...gallery.querySelectorAll("job-tile")].filter(
          (other): other is JobTile => other instanceof JobTile && other.job === job,
        );
        const next = siblings.find((other) => other.index > tile.index);
        const last = siblings.at(-1);
        if (next) next.before(tile);
        else if (last) last.after(tile);
        else placeByAge(gallery, tile);
      }
    }
  }

  private dropMissing(job: string, fresh: readonly JobTile[]): void {
    const left = new Set(fresh.map((tile) => tile.index));
    for (const tile of this.tilesOf(job)) if (!left.has(tile.index)) tile.remove();
  }

  private remove(job: string): void {
    this.jobs.delete(job);
    this.previews.delete(job);
    for (const tile of this.tilesOf(job)) tile.remove();
  }

  private draw(job: JobState): void {
    for (const tile of this.tilesOf(job.id)) tile.showProgress(job);
    this.stage?.progress(job);
  }

  private statuses(job: string): Map<number, Status> {
    return new Map(this.tilesOf(job).map((tile) => [tile.index, tile.status]));
  }

  /** Say what became of a job, once. */
  private tell(job: string, before: ReadonlyMap<number, Status>): void {
    const tiles = new Map(this.tilesOf(job).map((tile) => [tile.index, tile]));
    const ended = [...tiles.values()].filter(
      (tile) => isTerminal(tile.status) && before.has(tile.index) && !isTerminal(before.get(tile.index) ?? "failed"),
    );
    for (const { output } of ended) if (output) emit("studio:output-made", { output });
    const first = ended[0];
    if (!first) return;
    if (first.status === "failed") announce(`The job failed. ${first.errorText}`);
    else if (first.status === "canceled") announce("The job is canceled.");
    else announce(tiles.size === 1 ? "The picture is ready." : `Picture ${first.index + 1} of ${tiles.size} is ready.`);
    if ([...tiles.values()].every((tile) => isTerminal(tile.status))) {
      this.jobs.delete(job);
      this.previews.delete(job);
      const outputs = [...tiles.values()].flatMap((tile) => (tile.output ? [tile.output] : []));
      emit("studio:job-finished", { job, outputs });
    }
  }
}

/** Newest job first; the ids of jobs grow with time. */
function placeByAge(gallery: HTMLElement, tile: JobTile): void {
  const older = [...gallery.querySelectorAll("job-tile")].find((other) => other instanceof JobTile && other.job < tile.job);
  if (older) older.before(tile);
  else if (gallery.querySelector("job-tile")) [...gallery.querySelectorAll("job-tile")].at(-1)?.after(tile);
  else gallery.prepend(tile);
}

function uniqueStates(tiles: readonly JobTile[]): { index: number; status: Status }[] {
  return [...new Map(tiles.map((tile) => [tile.index, { index: tile.index, status: tile.status }])).values()];
}

/** The one board of this page. */
export const board = new TileBoard();
