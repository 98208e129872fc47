import { expect, test } from "vitest";

import "./key-list";
import { areSingleKeysOn, bindKeys } from "../lib/keys";
import type { KeyList } from "./key-list";
import { mount } from "../test/pages";

test("lists what works, finds, and switches single keys off", () => {
  mount("<key-list></key-list>");
  const stop = bindKeys({ keys: "shift+x", label: "Cancel the job that runs", group: "Making", run: () => undefined });
  (document.querySelector("key-list") as KeyList).open();
  const dialog = document.querySelector("dialog");
  expect(dialog?.open).toBe(true);
  const rows = (): string[] => [...document.querySelectorAll("dt")].map((row) => row.textContent ?? "");
  expect(rows()).toContain("Cancel the job that runs");
  expect(rows()).toContain("Use the seed");
  const search = document.querySelector<HTMLInputElement>("#key-search");
  if (search) search.value = "cancel";
  search?.dispatchEvent(new Event("input"));
  expect(rows()).toEqual(["Cancel the job that runs"]);
  const single = document.querySelector<HTMLInputElement>("#single-keys");
  if (single) single.checked = false;
  single?.dispatchEvent(new Event("change"));
  expect(areSingleKeysOn()).toBe(false);
  stop();
});
