import { afterEach, expect, test } from "vitest";

import { mount, press } from "../test/pages";
import { startLinkKeys } from "./link-keys";

let stop = (): void => undefined;
afterEach(() => stop());

test("a key follows the link that names it, but not while somebody writes", () => {
  mount('<a href="/newer" data-key="ArrowLeft"></a><a href="/older" data-key="ArrowRight"></a><input>');
  const followed: string[] = [];
  stop = startLinkKeys((link) => followed.push(link.getAttribute("href") ?? ""));
  expect(press("ArrowRight").defaultPrevented).toBe(true);
  press("ArrowLeft");
  press("ArrowLeft", document.body, { ctrlKey: true });
  press("ArrowLeft", document.querySelector("input") as HTMLInputElement);
  expect(press("Escape").defaultPrevented).toBe(false);
  expect(followed).toEqual(["/older", "/newer"]);
});
