import { describe, expect, test } from "vitest";

import { type JobState, needsFetch, nextStatus, readJob, type Status, tileProgress } from "./job-state";

const job = (more: Partial<JobState> = {}): JobState => ({ id: "j", status: "running", step: 5, steps: 20, index: 1, count: 3, ...more });

describe("a tile's status", () => {
  test.each<[Status, Status, Status]>([
    ["queued", "running", "running"],
    ["running", "queued", "queued"], // its agent was lost: the job waits again
    ["running", "succeeded", "succeeded"],
    ["succeeded", "running", "succeeded"],
    ["canceled", "succeeded", "canceled"],
    ["failed", "queued", "failed"],
  ])("%s hears of %s and is %s", (current, reported, expected) => {
    expect(nextStatus(current, reported)).toBe(expected);
  });
});

describe("tiles are fetched", () => {
  const tiles = (...states: Status[]) => states.map((status, index) => ({ index, status }));

  test.each<[string, JobState, Status[], boolean]>([
    ["when some are missing", job(), ["succeeded", "running"], true],
    ["when an earlier picture should be there", job(), ["running", "running", "queued"], true],
    ["not while all fits", job(), ["succeeded", "running", "queued"], false],
    ["when the job has ended", job({ status: "failed" }), ["succeeded", "running", "queued"], true],
    ["not when all have ended", job({ status: "canceled" }), ["succeeded", "canceled", "canceled"], false],
    ["when the job waits again", job({ status: "queued" }), ["succeeded", "running", "queued"], true],
  ])("%s", (_, state, states, expected) => {
    expect(needsFetch(state, tiles(...states))).toBe(expected);
  });
});

test("progress belongs to the picture being made", () => {
  expect(tileProgress(job(), 0)).toEqual({ isCurrent: false, share: 1 });
  expect(tileProgress(job(), 1)).toEqual({ isCurrent: true, share: 0.25 });
  expect(tileProgress(job(), 2)).toEqual({ isCurrent: false, share: 0 });
  expect(tileProgress(job({ step: 25 }), 1).share).toBe(1);
  expect(tileProgress(job({ steps: 0 }), 1).share).toBe(0);
  expect(tileProgress(job({ status: "queued" }), 1).isCurrent).toBe(false);
});

test("untrusted messages are read with care", () => {
  expect(readJob(null)).toBeNull();
  expect(readJob({ status: "running" })).toBeNull();
  expect(readJob({ id: "j", status: "odd", step: "x", count: 2 }, "queued")).toEqual({ id: "j", status: "queued", step: 0, steps: 0, index: 0, count: 2 });
});
