import { afterEach, beforeEach, expect, test } from "vitest";

import "./studio-room";
import { emit } from "../lib/dom";
import { handleKey } from "../lib/keys";
import { mount, playServer, press, roomHtml, settle, tileHtml } from "../test/pages";

const heard = (event: KeyboardEvent): void => void handleKey(event);
beforeEach(() => document.addEventListener("keydown", heard));
afterEach(() => {
  document.removeEventListener("keydown", heard);
  document.body.replaceChildren();
});
const room = (): HTMLElement => document.querySelector("studio-room") as HTMLElement;

test("panels hide with their keys and stay hidden after a reload", () => {
  mount(roomHtml("", '<button data-panel-toggle="recipe"></button>'));
  press("t");
  expect(room().hasAttribute("data-no-recipe")).toBe(true);
  expect(document.querySelector("[data-panel-toggle]")?.getAttribute("aria-pressed")).toBe("false");
  mount(roomHtml(""));
  expect(room().hasAttribute("data-no-recipe")).toBe(true);
  press("f");
  expect(room().hasAttribute("data-no-shelf")).toBe(true);
  press("f");
  expect(room().hasAttribute("data-no-recipe")).toBe(false);
  expect(room().hasAttribute("data-no-shelf")).toBe(false);
});

test("on a phone the tabs choose the part that is seen", () => {
  mount(roomHtml("", '<button data-view-button="recipe"></button><button data-view-button="queue"></button>'));
  document.querySelector<HTMLElement>('[data-view-button="queue"]')?.click();
  expect(room().dataset.view).toBe("queue");
  expect(document.querySelector('[aria-current="true"]')?.getAttribute("data-view-button")).toBe("queue");
  emit("studio:view", { view: "recipe" });
  expect(room().dataset.view).toBe("recipe");
});

test("shift+x cancels what runs, not what waits", async () => {
  const log = playServer(() => ({ body: "" }));
  mount(roomHtml(tileHtml({ job: "job_3" }) + tileHtml({ job: "job_2", status: "running" }) + tileHtml({ job: "job_1", status: "succeeded" })));
  press("X", document.body, { shiftKey: true });
  await settle();
  expect(log.map((asked) => asked.url)).toEqual(["/w/w/jobs/job_2/cancel"]);
});
