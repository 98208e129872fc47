import { expect, test } from "vitest";

import "./drop-menu";
import { mount, press } from "../test/pages";

test("Escape and a press outside close the menu", () => {
  mount('<drop-menu><details open><summary></summary><button id="in"></button></details></drop-menu><button id="out"></button>');
  const details = document.querySelector("details") as HTMLDetailsElement;
  document.getElementById("in")?.dispatchEvent(new Event("pointerdown", { bubbles: true }));
  expect(details.open).toBe(true);
  document.getElementById("out")?.dispatchEvent(new Event("pointerdown", { bubbles: true }));
  expect(details.open).toBe(false);
  details.open = true;
  const event = press("Escape", document.getElementById("in") as Element);
  expect(details.open).toBe(false);
  expect(event.defaultPrevented).toBe(true); // so that it closes nothing else
});
