import { beforeEach, expect, test } from "vitest";

import "./start-picture";
import { mount, playServer } from "../test/pages";
import type { StartPicture } from "./start-picture";

beforeEach(() => {
  mount(`<form><start-picture data-url="/uploads"><input type="hidden" name="image" value="">
    <label data-part="drop"><input type="file"><span data-part="text">Drop</span></label>
    <div data-part="card" hidden><img data-part="picture"><p data-part="facts"></p><button type="button" data-action="remove"></button></div>
    <p id="error_image" hidden></p><div data-part="strength" hidden></div></start-picture></form>`);
});

const element = (): StartPicture => document.querySelector("start-picture") as StartPicture;
const value = (): string => (document.querySelector('[name="image"]') as HTMLInputElement).value;
const isHidden = (name: string): boolean => document.querySelector<HTMLElement>(`[data-part="${name}"]`)?.hasAttribute("hidden") ?? true;
const file = new File(["x"], "x.png", { type: "image/png" });

test("an accepted picture is in the recipe by its hash, and brings the strength along", async () => {
  playServer(() => ({ body: '{"id":"art_1","sha256":"abc123","width":640,"height":480,"url":"/media/art_1"}', type: "application/json" }));
  await element().upload(file);
  expect(value()).toBe("abc123");
  expect([isHidden("card"), isHidden("drop"), isHidden("strength")]).toEqual([false, true, false]);
  expect(document.querySelector('[data-part="facts"]')?.textContent).toBe("640 × 480");
  document.querySelector<HTMLElement>('[data-action="remove"]')?.click();
  expect(value()).toBe("");
  expect([isHidden("card"), isHidden("drop"), isHidden("strength")]).toEqual([true, false, true]);
});

test("a broken picture is told at the field", async () => {
  playServer(() => ({ status: 422, type: "application/problem+json", body: '{"errors":[{"field":"file","message":"This file is not a picture."}]}' }));
  await element().upload(file);
  expect(document.getElementById("error_image")).toMatchObject({ hidden: false, textContent: "This file is not a picture." });
  expect(value()).toBe("");
  expect(document.querySelector('[data-part="text"]')?.textContent).toBe("Drop");
});

test("a hash that came with parameters is shown", () => {
  const input = document.querySelector('[name="image"]') as HTMLInputElement;
  input.value = "0123456789abcdef";
  input.dispatchEvent(new CustomEvent("filled", { bubbles: true }));
  expect(isHidden("card")).toBe(false);
  expect(isHidden("strength")).toBe(false);
  expect(document.querySelector('[data-part="facts"]')?.textContent).toBe("0123456789ab…");
});
