import { expect, test, vi } from "vitest";

import { mount, playServer, record, roomHtml, settle, tileHtml, type TileLook } from "../test/pages";
import { parseFragment } from "../lib/dom";
import type { JobState } from "../lib/job-state";
import { JobTile } from "./job-tile";

const state = (more: Partial<JobState> = {}): JobState => ({ id: "job_1", status: "running", step: 5, steps: 20, index: 0, count: 2, ...more });

function tile(look: TileLook): JobTile {
  mount(roomHtml(tileHtml(look)));
  return document.querySelector("job-tile") as JobTile;
}

function fresh(look: TileLook): JobTile {
  return document.importNode(parseFragment(tileHtml(look)).querySelector("job-tile") as JobTile, true);
}

test("progress is drawn for eyes and for screen readers", () => {
  const shown = tile({ status: "queued" });
  shown.showProgress(state());
  const bar = shown.querySelector('[role="progressbar"]');
  expect(shown.status).toBe("running");
  expect(shown.style.getPropertyValue("--share")).toBe("0.25");
  expect(bar?.getAttribute("aria-valuenow")).toBe("25");
  expect(bar?.getAttribute("aria-valuetext")).toBe("Step 5 of 20");
  expect(shown.querySelector('[data-part="label"]')?.textContent).toBe("Step 5 of 20");
});

test("pictures wait while an earlier one is made", () => {
  const shown = tile({ index: 1 });
  shown.showProgress(state());
  expect(shown.status).toBe("queued");
  expect(shown.querySelector('[data-part="label"]')?.textContent).toBe("Waiting");
});

test("a job whose agent was lost waits again", () => {
  const shown = tile({ status: "running" });
  shown.showPreview(new Blob(["x"]));
  shown.showProgress(state({ status: "queued", step: 0 }));
  expect(shown.status).toBe("queued");
  expect(shown.querySelector(".tile__preview")).toBeNull();
});

test("each preview frees the one before, the last one stays until the picture is there", () => {
  const freed = vi.spyOn(URL, "revokeObjectURL");
  let number = 0;
  vi.spyOn(URL, "createObjectURL").mockImplementation(() => `blob:${(number += 1)}`);
  const shown = tile({ status: "running" });
  shown.showPreview(new Blob(["1"]));
  shown.showPreview(new Blob(["2"]));
  const preview = shown.querySelector<HTMLImageElement>(".tile__preview");
  expect(shown.querySelectorAll(".tile__preview")).toHaveLength(1);
  preview?.dispatchEvent(new Event("load"));
  expect(freed).toHaveBeenCalledWith("blob:1");
  shown.adopt(fresh({ status: "succeeded" }));
  expect(shown.status).toBe("succeeded");
  expect(shown.querySelector(".tile__preview")).toBe(preview);
  vi.useFakeTimers();
  shown.querySelector(".tile__picture")?.dispatchEvent(new Event("load"));
  vi.advanceTimersByTime(600);
  expect(shown.querySelector(".tile__preview")).toBeNull();
  expect(freed).toHaveBeenCalledWith("blob:2");
  vi.restoreAllMocks();
});

test("what has ended stays ended", () => {
  const shown = tile({ status: "succeeded" });
  const picture = shown.querySelector("img");
  shown.adopt(fresh({ status: "running" }));
  shown.showPreview(new Blob(["x"]));
  expect(shown.status).toBe("succeeded");
  shown.adopt(fresh({ status: "succeeded" }));
  expect(shown.querySelector("img")).toBe(picture); // not loaded again
});

test("the focus stays on a tile that is replaced", () => {
  const shown = tile({ status: "running" });
  shown.querySelector<HTMLElement>(".tile__frame")?.focus();
  shown.adopt(fresh({ status: "succeeded" }));
  expect(document.activeElement).toBe(shown.querySelector("a.tile__frame"));
});

test("a plain press opens the picture here, a press with a modifier where the browser wants", () => {
  const shown = tile({ status: "succeeded" });
  const opened = record<{ url: string }>("studio:open-picture");
  const link = shown.querySelector("a") as HTMLElement;
  link.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true, ctrlKey: true }));
  expect(opened).toEqual([]);
  link.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true }));
  expect(opened[0]?.url).toBe("/w/w/outputs/out_job_1_0");
});

test("cancel asks the server once and waits for its word", async () => {
  const shown = tile({ status: "running" });
  const log = playServer(() => ({ body: "" }));
  const button = shown.querySelector<HTMLButtonElement>('[data-action="cancel"]');
  button?.click();
  button?.click(); // disabled by now
  await settle();
  expect(log.map((asked) => `${asked.method} ${asked.url}`)).toEqual(["POST /w/w/jobs/job_1/cancel"]);
  expect(shown.status).toBe("running");
});

test("a failed tile offers to try again", () => {
  const shown = tile({ status: "failed", error: "Out of memory." });
  const used = record("studio:use-job");
  expect(shown.errorText).toBe("Out of memory.");
  shown.querySelector<HTMLButtonElement>('[data-action="again"]')?.click();
  expect(used).toEqual([{ job: "job_1", submit: true }]);
});
