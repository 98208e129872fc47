import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { mount, press } from "../test/pages";
import { bindKeys, handleKey, keyCaps, keysOf, setSingleKeys } from "./keys";

const stops: (() => void)[] = [];
const heard = (event: KeyboardEvent): void => void handleKey(event);
beforeEach(() => document.addEventListener("keydown", heard));
afterEach(() => {
  document.removeEventListener("keydown", heard);
  for (const stop of stops.splice(0)) stop();
});

function bind(keys: string, more: { typing?: boolean; when?: () => boolean } = {}) {
  const run = vi.fn();
  stops.push(bindKeys({ keys, label: keys, group: "Room", run, ...more }));
  return run;
}

test("names of keys", () => {
  const of = (key: string, options: KeyboardEventInit = {}) => keysOf(new KeyboardEvent("keydown", { key, ...options }), false);
  expect(of("Enter", { ctrlKey: true })).toBe("mod+enter");
  expect(of("X", { shiftKey: true })).toBe("shift+x");
  expect(of("?", { shiftKey: true })).toBe("?");
  expect(of("ArrowUp", { altKey: true })).toBe("alt+arrowup");
  expect(keysOf(new KeyboardEvent("keydown", { key: "Enter", metaKey: true }), true)).toBe("mod+enter");
  expect(keyCaps("shift+x")).toEqual(["⇧", "X"]);
});

test("a key of one character does nothing while someone writes", () => {
  mount("<textarea></textarea>");
  const run = bind("t");
  press("t", document.querySelector("textarea") as Element);
  expect(run).not.toHaveBeenCalled();
  press("t");
  expect(run).toHaveBeenCalledOnce();
});

test("a key for text fields works there", () => {
  mount("<textarea></textarea>");
  const run = bind("mod+enter", { typing: true });
  press("Enter", document.querySelector("textarea") as Element, { ctrlKey: true });
  expect(run).toHaveBeenCalledOnce();
});

test("keys of one character can be switched off, the others stay", () => {
  const single = bind("shift+x");
  const combined = bind("mod+enter");
  setSingleKeys(false);
  press("X", document.body, { shiftKey: true });
  press("Enter", document.body, { ctrlKey: true });
  expect(single).not.toHaveBeenCalled();
  expect(combined).toHaveBeenCalledOnce();
});

test("the latest binding wins, unless it does not apply now", () => {
  const first = bind("escape");
  const second = bind("escape", { when: () => false });
  const event = press("Escape");
  expect(second).not.toHaveBeenCalled();
  expect(first).toHaveBeenCalledOnce();
  expect(event.defaultPrevented).toBe(true);
});

test("an open dialog keeps the keys to itself", () => {
  mount("<dialog open></dialog>");
  const run = bind("t");
  press("t");
  expect(run).not.toHaveBeenCalled();
});
