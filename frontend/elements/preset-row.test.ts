import { afterEach, beforeEach, expect, test } from "vitest";

import "./preset-row";
import "./recipe-form";
import { emit, listen } from "../lib/dom";
import { saveDraft } from "../lib/drafts";
import { mount, roomHtml } from "../test/pages";

const FORM = `<recipe-form><form action="/w/w/jobs">
  <textarea name="prompt">A boat</textarea><input name="seed" value="7"><input type="hidden" name="image" value="cafe">
  <input name="num_images_per_prompt" value="4">
  <input name="num_inference_steps" value="20"><input name="guidance_scale" value="4.0">
  <select name="sampler"><option value="dpmpp_2m_karras" selected></option><option value="unipc"></option></select>
  <input name="width" value="128"><input name="height" value="192">
  <input type="radio" name="model" value="a" data-presets="presets_1" checked><input type="radio" name="model" value="b" data-presets="presets_2"><input type="radio" name="model" value="c" data-presets="presets_3">
  <preset-row>
    <div role="group" id="presets_1">
      <button type="button" data-recipe='{"num_inference_steps": 20, "guidance_scale": 4.0}' title="20 steps">Standard</button>
      <button type="button" data-recipe='{"num_inference_steps": 8, "guidance_scale": 4.0, "sampler": "unipc"}' title="8 steps, UniPC">Quick draft</button>
      <button type="button" data-recipe='{"num_inference_steps": 20, "width": 256, "height": 256, "guidance_scale": 4}' title="256 × 256">Large</button>
    </div>
    <div role="group" id="presets_2" hidden><button type="button" data-recipe='{"num_inference_steps": 20}' title="20 steps">Plain</button></div>
  </preset-row>
  <div data-part="problems"></div><button id="generate" type="submit"></button>
</form></recipe-form>`;

beforeEach(() => mount(roomHtml("", FORM)));
afterEach(() => document.body.replaceChildren());

const field = (name: string): HTMLInputElement => document.querySelector(`[name="${name}"]`) as HTMLInputElement;
const values = (...names: string[]): string[] => names.map((name) => field(name).value);
const button = (name: string): HTMLButtonElement =>
  [...document.querySelectorAll<HTMLButtonElement>("[data-recipe]")].find((each) => each.textContent === name) as HTMLButtonElement;
const pressed = (): (string | null)[] =>
  [...document.querySelectorAll('[role="group"]:not([hidden]) [aria-pressed="true"]')].map((each) => each.textContent);
const shown = (): string[] => [...document.querySelectorAll<HTMLElement>('[role="group"]:not([hidden])')].map((group) => group.id);
const type = (name: string, value: string): void => {
  field(name).value = value;
  field(name).dispatchEvent(new Event("input", { bubbles: true }));
};
const choose = (model: string): void => {
  const radio = document.querySelector(`[value="${model}"]`) as HTMLInputElement;
  radio.checked = true;
  radio.dispatchEvent(new Event("change", { bubbles: true }));
};

test("the preset that the form equals is marked from the start, whatever way its numbers are written", () => {
  expect(pressed()).toEqual(["Standard"]);
});

test("a press sets what the preset names, marks it, says so, and leaves the rest alone", () => {
  button("Quick draft").click();
  expect(values("num_inference_steps", "guidance_scale", "sampler")).toEqual(["8", "4", "unipc"]);
  expect(values("prompt", "seed", "image", "num_images_per_prompt", "width", "height")).toEqual(["A boat", "7", "cafe", "4", "128", "192"]);
  expect(pressed()).toEqual(["Quick draft"]);
  expect(document.getElementById("live")?.textContent).toBe("Quick draft: 8 steps, UniPC.");
});

test("a value changed by hand takes the mark away, changed back it returns", () => {
  type("num_inference_steps", "21");
  expect(pressed()).toEqual([]);
  type("num_inference_steps", "");
  expect(pressed()).toEqual([]);
  type("num_inference_steps", "20");
  expect(pressed()).toEqual(["Standard"]);
  type("prompt", "A lake");
  expect(pressed()).toEqual(["Standard"]);
});

test("of two that fit, the one that names more is marked", () => {
  button("Large").click();
  expect(values("width", "height")).toEqual(["256", "256"]);
  expect(pressed()).toEqual(["Large"]);
});

test("the row follows the model, also when parameters or a draft bring another", () => {
  choose("b");
  expect([shown(), pressed()]).toEqual([["presets_2"], ["Plain"]]);
  choose("c");
  expect(shown()).toEqual([]);
  emit("studio:use-parameters", { values: { model: "a" }, part: "all" });
  expect([shown(), pressed()]).toEqual([["presets_1"], ["Standard"]]);
  saveDraft("w", { model: "b", num_inference_steps: "20" });
  mount(roomHtml("", FORM));
  expect([shown(), pressed()]).toEqual([["presets_2"], ["Plain"]]);
});

test("a press leaves the focus where it is", () => {
  button("Quick draft").focus();
  button("Quick draft").click();
  expect(document.activeElement).toBe(button("Quick draft"));
});

test("moved to another place of the page, a press still acts once", () => {
  const row = document.querySelector("preset-row") as HTMLElement;
  const uses: unknown[] = [];
  const stop = listen("studio:use-parameters", ({ values }) => uses.push(values.num_inference_steps));
  row.parentElement?.prepend(row);
  row.remove();
  document.querySelector("form")?.append(row);
  button("Quick draft").click();
  stop();
  expect(uses).toEqual([8]);
  expect(pressed()).toEqual(["Quick draft"]);
});
