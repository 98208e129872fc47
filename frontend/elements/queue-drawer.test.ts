import { expect, test, vi } from "vitest";

import "./queue-drawer";
import { emit } from "../lib/dom";
import { mount } from "../test/pages";

test("several changes within a moment ask once, and the badge counts the rows", async () => {
  mount(`<queue-drawer><span data-part="count"></span><div id="queue"><ol><li class="queue__row"></li></ol></div></queue-drawer><span data-queue-count></span>`);
  const badge = document.querySelector<HTMLElement>("[data-queue-count]");
  const queue = document.getElementById("queue") as HTMLElement;
  const stale = vi.fn();
  queue.addEventListener("studio:queue-stale", stale);
  vi.useFakeTimers();
  for (let times = 0; times < 5; times += 1) emit("studio:jobs-changed", { job: "job_1" });
  vi.advanceTimersByTime(300);
  expect(stale).toHaveBeenCalledOnce();
  vi.useRealTimers();
  expect(document.querySelector('[data-part="count"]')?.textContent).toBe("1");
  queue.innerHTML = "<p>Nothing is waiting.</p>";
  await new Promise((resolve) => setTimeout(resolve));
  expect(badge?.hidden).toBe(true);
});
