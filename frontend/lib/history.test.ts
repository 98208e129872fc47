import { expect, test } from "vitest";

import { HISTORY_MAX, PromptHistory } from "./history";

test("walks back and forth, and returns to what was being written", () => {
  const history = new PromptHistory("w");
  history.add("first");
  history.add("second");
  expect(history.older("in progress")).toBe("second");
  expect(history.older("second")).toBe("first");
  expect(history.older("first")).toBeNull();
  expect(history.newer()).toBe("second");
  expect(history.newer()).toBe("in progress");
  expect(history.newer()).toBeNull();
});

test("does not offer what is already in the box", () => {
  const history = new PromptHistory("w");
  history.add("first");
  history.add("second");
  expect(history.older("second")).toBe("first");
});

test("keeps each prompt once, fifty at most, apart for each workspace", () => {
  const history = new PromptHistory("w");
  for (let number = 0; number < 60; number += 1) history.add(`prompt ${number}`);
  history.add("prompt 30");
  history.add("   ");
  expect(history.entries).toHaveLength(HISTORY_MAX);
  expect(history.entries[0]).toBe("prompt 30");
  expect(history.entries.filter((entry) => entry === "prompt 30")).toHaveLength(1);
  expect(new PromptHistory("other").entries).toEqual([]);
  history.clear();
  expect(history.entries).toEqual([]);
});
