import { expect, test, vi } from "vitest";

import "./theme-toggle";
import { mount } from "../test/pages";

test("the first press changes what is seen, the third gives the system's theme back", () => {
  vi.stubGlobal("matchMedia", () => ({ matches: true }));
  mount('<theme-toggle><button><span class="visually-hidden"></span></button></theme-toggle>');
  const button = document.querySelector("button") as HTMLElement;
  const root = document.documentElement;
  button.click();
  expect(root.dataset.theme).toBe("light");
  expect(localStorage.getItem("studio.theme")).toBe("light");
  button.click();
  expect(root.dataset.theme).toBe("dark");
  button.click();
  expect(root.dataset.theme).toBeUndefined();
  expect(localStorage.getItem("studio.theme")).toBeNull();
});
