import { beforeEach, expect, test } from "vitest";

import "./size-picker";
import { mount } from "../test/pages";

beforeEach(() => {
  mount(`<form><size-picker><button type="button" data-width="512" data-height="512"></button><button type="button" data-width="512" data-height="768"></button>
    <button type="button" data-action="swap"></button><input name="width" min="64" max="2048" value="512"><input name="height" min="64" max="2048" value="768"></size-picker>
    <input type="radio" name="model" value="a" data-width="512" data-height="768" checked><input type="radio" name="model" value="b" data-width="128" data-height="128"></form>`);
});

const sides = (): string[] => [...document.querySelectorAll<HTMLInputElement>("size-picker input")].map((input) => input.value);
const pressed = (): number => [...document.querySelectorAll("[aria-pressed]")].findIndex((chip) => chip.getAttribute("aria-pressed") === "true");
const choose = (model: string): void => {
  const radio = document.querySelector(`[value="${model}"]`) as HTMLInputElement;
  radio.checked = true;
  radio.dispatchEvent(new Event("change", { bubbles: true }));
};

test("chips and swap", () => {
  expect(pressed()).toBe(1);
  document.querySelector<HTMLElement>('[data-action="swap"]')?.click();
  expect(sides()).toEqual(["768", "512"]);
  expect(pressed()).toBe(-1);
  document.querySelector<HTMLElement>("[data-width]")?.click();
  expect(sides()).toEqual(["512", "512"]);
});

test("a model brings its size, but not over a size that the person chose", () => {
  choose("b");
  expect(sides()).toEqual(["128", "128"]);
  document.querySelector<HTMLElement>("[data-width]")?.click();
  choose("a");
  expect(sides()).toEqual(["512", "512"]);
});
