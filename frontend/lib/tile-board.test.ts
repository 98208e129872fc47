import { beforeEach, expect, test, vi } from "vitest";

import "../elements/job-tile";
import { mount, playServer, record, roomHtml, settle, tileHtml } from "../test/pages";
import type { JobState } from "./job-state";
import { TileBoard } from "./tile-board";

const state = (more: Partial<JobState> = {}): JobState => ({ id: "job_1", status: "running", step: 1, steps: 10, index: 0, count: 1, ...more });
const statuses = (): string[] => [...document.querySelectorAll<HTMLElement>("#gallery job-tile")].map((tile) => `${tile.dataset.job}/${tile.dataset.index} ${tile.dataset.status}`);

let board: TileBoard;
beforeEach(() => {
  board = new TileBoard();
});

test("a tile becomes its picture in place", async () => {
  mount(roomHtml(tileHtml({ status: "running" }) + tileHtml({ job: "job_0", status: "succeeded" })));
  playServer(() => ({ body: tileHtml({ status: "succeeded" }) }));
  const tile = document.querySelector("job-tile");
  board.changed("job_1", "succeeded");
  await settle();
  expect(document.querySelector("job-tile")).toBe(tile);
  expect(statuses()).toEqual(["job_1/0 succeeded", "job_0/0 succeeded"]);
  expect(document.getElementById("live")?.textContent).toBe("The picture is ready.");
});

test("a job of another tab comes to the front, once however often it is announced", async () => {
  mount(roomHtml(tileHtml({ job: "job_0", status: "succeeded" })));
  playServer(() => ({ body: tileHtml({ index: 0 }) + tileHtml({ index: 1 }) }));
  for (let times = 0; times < 3; times += 1) board.changed("job_1", "queued");
  await settle();
  board.apply(tileHtml({ index: 0 }) + tileHtml({ index: 1 }));
  expect(statuses()).toEqual(["job_1/0 queued", "job_1/1 queued", "job_0/0 succeeded"]);
});

test.each([503, 500, 429, "offline"] as const)("while the server is away (%s) a change is looked for again", async (away) => {
  vi.useFakeTimers();
  try {
    mount(roomHtml(tileHtml()));
    const log = playServer(() => {
      if (log.length > 2) return { body: tileHtml({ status: "succeeded" }) };
      return away === "offline" ? away : { status: away };
    });
    board.changed("job_1", "succeeded");
    await vi.advanceTimersByTimeAsync(200);
    expect(statuses()).toEqual(["job_1/0 queued"]);
    await vi.advanceTimersByTimeAsync(5_000);
    expect(statuses()).toEqual(["job_1/0 succeeded"]);
    expect(log).toHaveLength(3);
  } finally {
    vi.useRealTimers();
  }
});

test("it gives up in the end", async () => {
  vi.useFakeTimers();
  try {
    mount(roomHtml(tileHtml()));
    const log = playServer(() => ({ status: 503 }));
    board.changed("job_1", null);
    await vi.advanceTimersByTimeAsync(600_000);
    expect(log).toHaveLength(6);
  } finally {
    vi.useRealTimers();
  }
});

test("changes during a fetch lead to one more fetch", async () => {
  mount(roomHtml(tileHtml()));
  const log = playServer(async () => {
    await settle(5);
    return { body: tileHtml({ status: log.length > 1 ? "succeeded" : "running" }) };
  });
  for (let times = 0; times < 4; times += 1) board.changed("job_1", null);
  await settle(30);
  expect(log).toHaveLength(2);
  expect(statuses()).toEqual(["job_1/0 succeeded"]);
});

test("after a reconnect, what ended is fetched, what is new is fetched, what fits is not", async () => {
  mount(roomHtml(
    tileHtml({ job: "job_ended", status: "running" }) + tileHtml({ job: "job_same", status: "running" }) + tileHtml({ job: "job_old", status: "succeeded" }),
  ));
  const log = playServer(({ url }) => ({
    body: url.includes("job_ended") ? tileHtml({ job: "job_ended", status: "failed", error: "Out of memory." }) : tileHtml({ job: "job_new" }),
  }));
  board.snapshot([state({ id: "job_same" }), state({ id: "job_new", status: "queued" })]);
  await settle();
  expect(log.map((asked) => asked.url).sort()).toEqual(["/w/w/jobs/job_ended/tile", "/w/w/jobs/job_new/tile"]);
  expect(statuses()).toEqual(["job_new/0 queued", "job_ended/0 failed", "job_same/0 running", "job_old/0 succeeded"]);
  expect(document.getElementById("live")?.textContent).toBe("The job failed. Out of memory.");
});

test("a job that is not ours to see any more goes", async () => {
  mount(roomHtml(tileHtml({ status: "running" })));
  playServer(() => ({ status: 404 }));
  board.snapshot([]);
  await settle();
  expect(statuses()).toEqual([]);
});

test("a picture that went to the trash is not asked for with every step", async () => {
  mount(roomHtml(tileHtml({ index: 1, status: "running" })));
  const log = playServer(() => ({ body: tileHtml({ index: 1, status: "running" }) }));
  for (let step = 1; step < 6; step += 1) {
    board.progress(state({ step, index: 1, count: 2 }));
    await settle();
  }
  expect(log).toHaveLength(1);
});

test("late progress does not wake a tile that has ended", () => {
  mount(roomHtml(tileHtml({ status: "succeeded" })));
  board.progress(state());
  expect(statuses()).toEqual(["job_1/0 succeeded"]);
});

test("the end of a job is told once, with its outputs", async () => {
  mount(roomHtml(tileHtml({ index: 0, status: "running" }) + tileHtml({ index: 1 })));
  const finished = record<{ job: string; outputs: string[] }>("studio:job-finished");
  board.apply(tileHtml({ index: 0, status: "succeeded" }));
  expect(document.getElementById("live")?.textContent).toBe("Picture 1 of 2 is ready.");
  expect(finished).toEqual([]);
  board.apply(tileHtml({ index: 1, status: "succeeded" }));
  board.apply(tileHtml({ index: 1, status: "succeeded" }));
  expect(finished).toEqual([{ job: "job_1", outputs: ["out_job_1_0", "out_job_1_1"] }]);
});

test("jobs stand newest first, in whatever order they arrive", () => {
  mount(roomHtml(tileHtml({ job: "job_2", status: "succeeded" })));
  board.apply(tileHtml({ job: "job_4" }));
  board.apply(tileHtml({ job: "job_3" }));
  board.apply(tileHtml({ job: "job_1" }));
  expect(statuses().map((line) => line.slice(0, 5))).toEqual(["job_4", "job_3", "job_2", "job_1"]);
});

test("a preview that comes before its tile is shown when the tile is there", () => {
  mount(roomHtml(""));
  board.preview({ job: "job_1", index: 0, picture: new Blob(["x"]) });
  board.apply(tileHtml({ status: "running" }));
  expect(document.querySelectorAll("#gallery .tile__preview")).toHaveLength(1);
});

test("while the trash is shown, new jobs do not fall into it", () => {
  mount(roomHtml(""));
  (document.getElementById("gallery") as HTMLElement).dataset.trash = "1";
  board.apply(tileHtml());
  expect(statuses()).toEqual([]);
});
