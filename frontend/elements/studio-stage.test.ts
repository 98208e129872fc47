import { beforeEach, expect, test } from "vitest";

import "./studio-stage";
import { emit } from "../lib/dom";
import { board } from "../lib/tile-board";
import { mount, playServer, record, roomHtml, settle, tileHtml } from "../test/pages";
import type { StudioStage } from "./studio-stage";

const STAGE = `<studio-stage><div><div data-part="tiles"></div></div>
  <div class="stage__strip" data-part="strip" hidden><p data-part="status"></p><button data-action="parameters" data-part="parameters"></button><button data-action="cancel" data-part="cancel"></button></div>
  <div data-part="empty"><button data-example="A boat"></button></div></studio-stage>`;
const stage = (): StudioStage => document.querySelector("studio-stage") as StudioStage;
const shown = (): string[] => stage().tiles.map((tile) => `${tile.job}/${tile.index}`);
const status = (): string => stage().querySelector('[data-part="status"]')?.textContent ?? "";

beforeEach(() => {
  playServer(({ url }) => ({ body: url.includes("job_far") ? tileHtml({ job: "job_far" }) : "" }));
  board.jobs.clear();
});

function room(tiles: string): void {
  // The gallery comes after the stage, as in the page: it is there when the stage is connected.
  mount(roomHtml(tiles, STAGE));
}

test("the newest job is on the stage when the page opens", () => {
  room(tileHtml({ job: "job_2", index: 0 }) + tileHtml({ job: "job_2", index: 1 }) + tileHtml({ job: "job_1", status: "succeeded" }));
  expect(shown()).toEqual(["job_2/0", "job_2/1"]);
  expect(document.querySelector<HTMLElement>('[data-part="empty"]')?.hidden).toBe(true);
});

test("an empty room offers examples", () => {
  room("");
  const used = record("studio:use-parameters");
  document.querySelector<HTMLElement>("[data-example]")?.click();
  expect(used).toEqual([{ values: { prompt: "A boat" }, part: "prompt" }]);
});

test("a submitted job takes the stage; one of another tab does only when nothing is being made", () => {
  room(tileHtml({ job: "job_1", status: "running" }));
  board.apply(tileHtml({ job: "job_2" }));
  expect(shown()).toEqual(["job_1/0"]);
  emit("studio:submitted", { job: "job_2", rerun: false });
  expect(shown()).toEqual(["job_2/0"]);
  board.apply(tileHtml({ job: "job_2", status: "succeeded" }));
  board.apply(tileHtml({ job: "job_3" }));
  expect(shown()).toEqual(["job_3/0"]);
});

test("the strip says how far it is", () => {
  room(tileHtml({ index: 0, status: "succeeded" }) + tileHtml({ index: 1, status: "running" }));
  board.progress({ id: "job_1", status: "running", step: 7, steps: 20, index: 1, count: 2 });
  expect(status()).toBe("Making picture 2 of 2, step 7 of 20");
  board.apply(tileHtml({ index: 1, status: "canceled" }));
  expect(status()).toBe("Canceled after 1 of 2");
});

test("the stage and the gallery show the same", () => {
  room(tileHtml({ status: "running" }));
  board.apply(tileHtml({ status: "succeeded" }));
  expect([...document.querySelectorAll<HTMLElement>("job-tile")].map((tile) => tile.dataset.status)).toEqual(["succeeded", "succeeded"]);
});

test("a job that the gallery does not hold is fetched", async () => {
  room("");
  emit("studio:show-job", { job: "job_far", byUser: true });
  await settle();
  expect(shown()).toEqual(["job_far/0"]);
});

test("a job that was run again opens its picture for the verdict", () => {
  room(tileHtml({ job: "job_1", status: "succeeded" }));
  board.apply(tileHtml({ job: "job_2" }));
  emit("studio:submitted", { job: "job_2", rerun: true });
  const opened = record<{ url: string }>("studio:open-picture");
  board.apply(tileHtml({ job: "job_2", status: "succeeded" }));
  expect(opened[0]?.url).toBe("/w/w/outputs/out_job_2_0");
});

test("a deleted picture leaves the stage and comes back", () => {
  room(tileHtml({ index: 0, status: "succeeded" }) + tileHtml({ index: 1, status: "succeeded" }));
  emit("studio:output-gone", { output: "out_job_1_0" });
  expect(status()).toBe("1 picture, 64 × 32");
  emit("studio:output-restored", { output: "out_job_1_0" });
  expect(status()).toBe("2 pictures, 64 × 32");
});
