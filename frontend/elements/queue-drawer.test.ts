import { afterEach, beforeEach, expect, test, vi } from "vitest";

import "./job-tile";
import "./queue-drawer";
import { emit } from "../lib/dom";
import { mount, playServer, press, record, type Reply, roomHtml, settle, tileHtml } from "../test/pages";

const row = (job: string, place: number): string => `<li class="queue__row" data-job="${job}" data-line="fast" data-place="${place}" data-of="2" data-move="/w/w/jobs/${job}/move" data-waiting>
  <button class="queue__handle" id="handle-${job}"></button>
  <button id="more-${job}" data-action="more" aria-expanded="false" aria-controls="strip-${job}"></button>
  <div class="queue__strip" id="strip-${job}" hidden>
    <button id="up-${job}" data-action="move" data-to="up"></button><button id="pause-${job}" data-action="pause" data-url="/w/w/jobs/${job}/pause"></button>
  </div></li>`;
const rows = (...jobs: string[]): string =>
  `<div id="queue-rows" data-mine="${jobs.length}" data-total="5"><ol>${jobs.map((job, at) => row(job, at + 1)).join("")}</ol></div>`;
const DRAWER = `<queue-drawer><span data-part="count"></span><div id="queue">${rows("job_1", "job_2")}</div></queue-drawer><span data-queue-count></span>`;

let reply: Reply | "offline";
let log: ReturnType<typeof playServer>;
beforeEach(() => {
  reply = { status: 204 };
  log = playServer(() => reply);
  mount(roomHtml("", DRAWER));
});
afterEach(() => {
  vi.useRealTimers();
  document.body.replaceChildren();
});

const queue = (): HTMLElement => document.getElementById("queue") as HTMLElement;
const press_ = (id: string): void => document.getElementById(id)?.click();

/** What htmx does with a fresh list. */
function swap(html: string): void {
  queue().dispatchEvent(new CustomEvent("htmx:beforeSwap", { cancelable: true }));
  queue().innerHTML = html;
  queue().dispatchEvent(new CustomEvent("htmx:afterSwap"));
}

test("several changes within a moment ask once, and the badges say how many are mine and of all", async () => {
  const badge = document.querySelector<HTMLElement>("[data-queue-count]");
  const stale = vi.fn();
  queue().addEventListener("studio:queue-stale", stale);
  vi.useFakeTimers();
  for (let times = 0; times < 5; times += 1) emit("studio:jobs-changed", { job: "job_1" });
  vi.advanceTimersByTime(300);
  expect(stale).toHaveBeenCalledOnce();
  vi.useRealTimers();
  expect(document.querySelector('[data-part="count"]')?.textContent).toBe("2 / 5");
  expect(badge?.textContent).toBe("5");
  queue().innerHTML = '<div id="queue-rows" data-mine="0" data-total="0"></div>';
  await settle();
  expect(badge?.hidden).toBe(true);
});

test("arrow keys on a handle move the job; others do nothing", () => {
  const handle = document.getElementById("handle-job_2") as HTMLElement;
  press("ArrowUp", handle);
  press("Home", handle);
  press("a", handle);
  press("ArrowUp", handle, { altKey: true });
  expect(log.map(({ url, body }) => [url, body])).toEqual([
    ["/w/w/jobs/job_2/move", "to=up"],
    ["/w/w/jobs/job_2/move", "to=first"],
  ]);
});

test("what is open stays open through a fresh list, and the focus stays where it was", async () => {
  press_("more-job_2");
  document.getElementById("up-job_2")?.focus();
  press_("up-job_2");
  await settle();
  swap(rows("job_2", "job_1"));
  expect(document.getElementById("strip-job_2")?.hidden).toBe(false);
  expect(document.activeElement?.id).toBe("up-job_2");
  expect(document.getElementById("live")?.textContent).toBe("Now number 1 of 2 in this line.");
  press("Escape", document.getElementById("up-job_2") as HTMLElement);
  expect(document.getElementById("strip-job_2")?.hidden).toBe(true);
  expect(document.activeElement?.id).toBe("more-job_2");
});

test("what the server refuses is said", async () => {
  const toasts = record<{ text: string }>("studio:toast");
  reply = { status: 409, type: "application/json", body: '{"detail":"The job is being made already."}' };
  press_("pause-job_1");
  await settle();
  expect(toasts[0]?.text).toBe("The job is being made already.");
});

test("asking again puts the new job into the gallery, once for two presses", async () => {
  queue().innerHTML = '<ol><li class="queue__row" data-job="job_0"><button id="retry" data-action="retry" data-url="/w/w/jobs/job_0/retry"></button></li></ol>';
  const submitted = record<{ job: string }>("studio:submitted");
  reply = { status: 201, body: tileHtml({ job: "job_9" }) };
  press_("retry");
  press_("retry");
  await settle();
  expect(log.filter(({ url }) => url.endsWith("/retry"))).toHaveLength(1);
  expect(submitted.map(({ job }) => job)).toEqual(["job_9"]);
  expect(document.querySelector<HTMLElement>("#gallery job-tile")?.dataset.job).toBe("job_9");
});
