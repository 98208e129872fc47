import { expect, test } from "vitest";

import "./number-stepper";
import { mount } from "../test/pages";

test("steps within its limits", () => {
  mount('<number-stepper><button data-step="-1"></button><input type="number" min="1" max="3" value="2"><button data-step="1"></button></number-stepper>');
  const [down, up] = [...document.querySelectorAll("button")];
  const input = document.querySelector("input");
  up?.click();
  expect(input?.value).toBe("3");
  expect(up?.disabled).toBe(true);
  down?.click();
  down?.click();
  expect(input?.value).toBe("1");
  expect(down?.disabled).toBe(true);
});
