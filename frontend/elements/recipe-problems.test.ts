import { expect, test } from "vitest";

import { clearProblems, placeProblems } from "./recipe-problems";
import { mount } from "../test/pages";

test("several problems of one field stand together; a hidden value is told at its file input", () => {
  mount(`<div id="root"><div data-field="image"><input type="hidden" name="image"><input type="file"></div><p class="field__error" id="error_image" hidden></p></div>`);
  const root = document.getElementById("root") as HTMLElement;
  const left = placeProblems(root, [
    { field: "image", message: "Too large." },
    { field: "image", message: "Not a picture." },
    { field: "elsewhere", message: "Odd." },
  ]);
  expect(left).toEqual(["Odd."]);
  expect(document.getElementById("error_image")?.textContent).toBe("Too large. Not a picture.");
  expect(root.querySelector('[type="file"]')?.getAttribute("aria-invalid")).toBe("true");
  clearProblems(root);
  expect(root.querySelector("[aria-invalid]")).toBeNull();
});
