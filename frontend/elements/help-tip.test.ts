import { expect, test } from "vitest";

import "./help-tip";
import { mount } from "../test/pages";

test("the explanation shows and hides", () => {
  mount('<help-tip><button aria-expanded="false" aria-controls="help"></button></help-tip><p id="help" hidden></p>');
  const button = document.querySelector("button") as HTMLElement;
  button.click();
  expect(document.getElementById("help")?.hidden).toBe(false);
  expect(button.getAttribute("aria-expanded")).toBe("true");
  button.click();
  expect(document.getElementById("help")?.hidden).toBe(true);
});
