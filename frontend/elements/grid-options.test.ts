import { beforeEach, expect, test, vi } from "vitest";

import "./grid-options";
import { mount, playServer, settle } from "../test/pages";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  mount(`<form><textarea name="prompt">a fox</textarea><input name="project" value="prj_1">
    <grid-options data-url="/grids" data-count-url="/grids/count">
      <div data-axis="x"><select data-part="parameter"><option value=""></option><option value="seed">Seed</option></select><input data-part="values" disabled></div>
      <p data-part="error" hidden></p><button type="button" data-action="make" data-part="make" disabled></button>
    </grid-options></form>`);
});

const button = (): HTMLButtonElement => document.querySelector<HTMLButtonElement>("[data-part='make']") ?? new HTMLButtonElement();

function choose(values: string): void {
  const select = document.querySelector("select");
  const box = document.querySelector<HTMLInputElement>("[data-part='values']");
  if (!select || !box) throw new Error("no axis");
  select.value = "seed";
  select.dispatchEvent(new Event("change", { bubbles: true }));
  box.value = values;
  box.dispatchEvent(new Event("input", { bubbles: true }));
}

test("it counts before it is pressed and sends all that is chosen", async () => {
  const log = playServer(() => ({ type: "application/json", body: '{"pictures": 4}' }));
  choose("1-4");
  expect(document.querySelector<HTMLInputElement>("[data-part='values']")?.disabled).toBe(false);
  vi.runAllTimers();
  vi.useRealTimers();
  await settle();
  expect(button().textContent).toBe("Make the grid: 4 pictures");
  expect(button().disabled).toBe(false);
  const sent = new URLSearchParams(log[0]?.body);
  expect(log[0]?.url).toBe("/grids/count");
  expect(JSON.parse(sent.get("axes") ?? "")).toEqual([{ parameter: "seed", values: "1-4" }]);
  expect(sent.get("prompt")).toBe("a fox");
});

test("what is wrong is told and nothing can be pressed", async () => {
  playServer(() => ({ status: 422, type: "application/problem+json", body: '{"errors":[{"field":"x","message":"Too many."}]}' }));
  choose("1-400");
  vi.runAllTimers();
  vi.useRealTimers();
  await settle();
  expect(button().disabled).toBe(true);
  expect(document.querySelector('[data-part="error"]')).toMatchObject({ hidden: false, textContent: "Too many." });
});
