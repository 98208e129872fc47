import { expect, test } from "vitest";

import { claimStore, clearPrivate, readPrivate, readSetting, writePrivate, writeSetting } from "./store";

test("another person finds nothing private, but the settings", () => {
  claimStore("alice");
  writePrivate("browser", "history.w", ["secret"]);
  writePrivate("tab", "draft.w", { prompt: "secret" });
  writeSetting("panel.shelf", false);
  claimStore("alice");
  expect(readPrivate("browser", "history.w")).toEqual(["secret"]);
  claimStore("bob");
  expect(readPrivate("browser", "history.w")).toBeNull();
  expect(readPrivate("tab", "draft.w")).toBeNull();
  expect(readSetting("panel.shelf")).toBe(false);
});

test("signing out forgets everything private", () => {
  claimStore("alice");
  writePrivate("browser", "history.w", ["secret"]);
  clearPrivate();
  expect(JSON.stringify({ ...localStorage })).not.toContain("secret");
});

test("broken values read as nothing", () => {
  localStorage.setItem("studio.private.history.w", "{");
  expect(readPrivate("browser", "history.w")).toBeNull();
});
