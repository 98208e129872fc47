import { expect, test } from "vitest";

import "./sampler-field";
import { mount } from "../test/pages";

const PAGE = `<form>
  <input type="radio" name="model" value="a" data-family="sd15" data-name="House" checked>
  <input type="radio" name="model" value="b" data-family="flux" data-name="Schnell">
  <sampler-field data-field="sampler"><select name="sampler">
    <option value="ddim" data-families="sd15 sdxl" data-default="">DDIM</option>
    <option value="dpm" data-families="sd15 sdxl flux" data-default="sd15 sdxl">DPM++</option>
    <option value="euler" data-families="sd15 sdxl flux" data-default="flux">Euler</option>
  </select><p data-part="instead" hidden></p></sampler-field>
</form>`;

const select = (): HTMLSelectElement => document.querySelector("select") as HTMLSelectElement;
const note = (): HTMLElement => document.querySelector('[data-part="instead"]') as HTMLElement;

async function choose(sampler: string): Promise<void> {
  select().value = sampler;
  select().dispatchEvent(new Event("input", { bubbles: true }));
  await Promise.resolve();
}

async function model(value: string): Promise<void> {
  const radio = document.querySelector<HTMLInputElement>(`input[value="${value}"]`);
  if (radio) radio.checked = true;
  radio?.dispatchEvent(new Event("input", { bubbles: true }));
  await Promise.resolve();
}

const offered = (): string[] => [...select().options].filter((option) => !option.hidden && !option.disabled).map((option) => option.value);

test("it offers what works with the model, and keeps what still does", async () => {
  mount(PAGE);
  expect(offered()).toEqual(["ddim", "dpm", "euler"]);
  await choose("dpm");
  await model("b");
  expect(offered()).toEqual(["dpm", "euler"]);
  expect(select().value).toBe("dpm");
  expect(note().hidden).toBe(true);
});

test("what does not work gives way to the family's own, says so, and comes back", async () => {
  mount(PAGE);
  await choose("ddim");
  await model("b");
  expect(select().value).toBe("euler");
  expect(note().hidden).toBe(false);
  expect(note().textContent).toBe("Euler, since DDIM does not work with Schnell.");
  await model("a");
  expect(select().value).toBe("ddim");
  expect(note().hidden).toBe(true);
});

test("a choice of one's own is not taken back", async () => {
  mount(PAGE);
  await choose("ddim");
  await model("b");
  await choose("dpm");
  expect(note().hidden).toBe(true);
  await model("a");
  expect(select().value).toBe("dpm");
});

test("a recipe that is filled in may say its sampler before its model", async () => {
  mount(PAGE);
  await model("b");
  select().value = "ddim"; // as the recipe has it, and then its model, before anything else runs
  select().dispatchEvent(new Event("input", { bubbles: true }));
  await model("a");
  expect(select().value).toBe("ddim");
  expect(note().hidden).toBe(true);
});
