import { expect, test, vi } from "vitest";

import "./toast-stack";
import { TOAST_MS } from "./toast-stack";
import { emit } from "../lib/dom";
import { mount } from "../test/pages";

test("a notice goes by itself, waits while it has the focus, and can be undone", () => {
  mount('<p id="live"></p><toast-stack></toast-stack>');
  vi.useFakeTimers();
  const run = vi.fn();
  emit("studio:toast", { text: "Moved to the trash.", action: { label: "Undo", run } });
  emit("studio:toast", { text: "Gone soon." });
  expect(document.querySelectorAll(".toast")).toHaveLength(2);
  const button = document.querySelector("button") as HTMLElement;
  button.dispatchEvent(new Event("focusin", { bubbles: true }));
  vi.advanceTimersByTime(TOAST_MS + 1);
  expect(document.querySelectorAll(".toast")).toHaveLength(1);
  button.click();
  expect(run).toHaveBeenCalledOnce();
  expect(document.querySelectorAll(".toast")).toHaveLength(0);
});
