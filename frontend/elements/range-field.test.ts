import { expect, test, vi } from "vitest";

import "./range-field";
import { mount } from "../test/pages";

test("number and slider show the same, and the form hears of it once", () => {
  mount('<form><range-field><input type="number" value="20"><input type="range" min="0" max="40" value="10"></range-field></form>');
  const number = document.querySelector('[type="number"]') as HTMLInputElement;
  const slider = document.querySelector('[type="range"]') as HTMLInputElement;
  expect(slider.value).toBe("20");
  expect(slider.style.getPropertyValue("--fill")).toBe("0.5");
  const heard = vi.fn();
  document.querySelector("form")?.addEventListener("input", heard);
  slider.value = "30";
  slider.dispatchEvent(new Event("input", { bubbles: true }));
  expect(number.value).toBe("30");
  expect(slider.style.getPropertyValue("--fill")).toBe("0.75");
  expect(heard).toHaveBeenCalledOnce();
});
