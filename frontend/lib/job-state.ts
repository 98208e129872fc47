/** What a job's messages mean for its tiles. Pure. */

export type Status = "queued" | "running" | "succeeded" | "failed" | "canceled";

export interface JobState {
  id: string;
  status: Status;
  step: number;
  steps: number;
  /** The picture being made now. */
  index: number;
  count: number;
}

export interface TileState {
  index: number;
  status: Status;
}

export function isTerminal(status: Status): boolean {
  return status === "succeeded" || status === "failed" || status === "canceled";
}

export function isStatus(value: unknown): value is Status {
  return typeof value === "string" && ["queued", "running", "succeeded", "failed", "canceled"].includes(value);
}

/** The status a tile takes when `reported` arrives: what has ended stays ended, late reports are dropped. */
export function nextStatus(current: Status, reported: Status): Status {
  return isTerminal(current) ? current : reported;
}

/** True when the tiles on the page cannot be what the server has, so they must be fetched. */
export function needsFetch(job: JobState, tiles: readonly TileState[]): boolean {
  if (tiles.length < job.count) return true;
  if (isTerminal(job.status)) return tiles.some((tile) => !isTerminal(tile.status));
  if (job.status === "queued") return tiles.some((tile) => tile.status === "running");
  return tiles.some((tile) => tile.index < job.index && !isTerminal(tile.status));
}

/** How far one tile is, 0 to 1, and whether it is the one being made. */
export function tileProgress(job: JobState, index: number): { isCurrent: boolean; share: number } {
  if (job.status !== "running" || index > job.index) return { isCurrent: false, share: 0 };
  if (index < job.index) return { isCurrent: false, share: 1 };
  return { isCurrent: true, share: job.steps > 0 ? Math.min(1, Math.max(0, job.step / job.steps)) : 0 };
}

/** Read an untrusted object of a snapshot or a progress message. */
export function readJob(raw: unknown, fallback: Status = "running"): JobState | null {
  if (typeof raw !== "object" || raw === null) return null;
  const source = raw as Record<string, unknown>;
  if (typeof source["id"] !== "string") return null;
  const whole = (key: string): number => (Number.isFinite(Number(source[key])) ? Number(source[key] ?? 0) : 0);
  return {
    id: source["id"],
    status: isStatus(source["status"]) ? source["status"] : fallback,
    step: whole("step"),
    steps: whole("steps"),
    index: whole("index"),
    count: whole("count"),
  };
}
