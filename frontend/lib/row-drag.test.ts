import { afterEach, expect, test, vi } from "vitest";

import { placeAt, RowDrag } from "./row-drag";
import { mount } from "../test/pages";

const ROWS = ["a", "b", "c"].map((job, at) => ({ job, middle: 10 + at * 20 }));

test.each([
  [0, "b", { before: "a" }],
  [70, "b", { after: "c" }],
  [25, "a", null],
  [30, "b", null],
  [35, "a", { before: "c" }],
  [70, "c", null],
  [-50, "a", null],
])("let go at %i, %s goes to %o", (y, held, place) => {
  expect(placeAt(y, held, ROWS)).toEqual(place);
});

test("a line of one has no other place", () => {
  expect(placeAt(99, "a", [{ job: "a", middle: 5 }])).toBeNull();
});

afterEach(() => document.body.replaceChildren());

function drag(): { drag: RowDrag; dropped: ReturnType<typeof vi.fn>; handle: (job: string) => Element } {
  mount(`<div id="box">${["a", "b", "c"].map((job) => `<div data-job="${job}" data-line="fast"><button class="queue__handle"></button></div>`).join("")}
    <div data-job="x" data-line="relax"></div></div>`);
  const box = document.getElementById("box") as HTMLElement;
  for (const [at, row] of [...box.children].entries()) {
    row.getBoundingClientRect = () => ({ top: at * 20, height: 20, bottom: at * 20 + 20 }) as DOMRect;
  }
  const dropped = vi.fn();
  const made = new RowDrag(box, dropped);
  return { drag: made, dropped, handle: (job) => box.querySelector(`[data-job="${job}"] button`) as Element };
}

function point(type: string, target: EventTarget, clientY: number): void {
  target.dispatchEvent(Object.assign(new MouseEvent(type, { bubbles: true, cancelable: true, clientY, button: 0 })));
}

test("a row that is dragged up lands before another of its line, never among others", () => {
  const { dropped, handle, drag: made } = drag();
  point("pointerdown", handle("c"), 50);
  expect(made.isHeld).toBe(true);
  point("pointermove", document, 5);
  expect(document.querySelector('[data-drop="before"]')?.getAttribute("data-job")).toBe("a");
  point("pointerup", document, 5);
  expect(dropped).toHaveBeenCalledExactlyOnceWith(expect.anything(), { before: "a" });
  expect([...document.querySelectorAll("[data-job]")].map((row) => row.getAttribute("data-job"))).toEqual(["c", "a", "b", "x"]);
  point("pointerdown", handle("a"), 30);
  point("pointermove", document, 500);
  point("pointerup", document, 500);
  expect(dropped).toHaveBeenLastCalledWith(expect.anything(), { after: "b" });
});

test("a press without a movement, and Escape, change nothing", () => {
  const { dropped, handle, drag: made } = drag();
  point("pointerdown", handle("b"), 30);
  point("pointerup", document, 31);
  point("pointerdown", handle("b"), 30);
  point("pointermove", document, 0);
  document.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape" }));
  point("pointerup", document, 0);
  expect(made.isHeld).toBe(false);
  expect(document.querySelector("[data-drop], .queue__row--held")).toBeNull();
  expect(dropped).not.toHaveBeenCalled();
});
