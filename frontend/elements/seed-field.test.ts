import { expect, test } from "vitest";

import "./seed-field";
import { mount } from "../test/pages";

test("the die chooses, the cross makes it random again", () => {
  mount('<seed-field><input value=""><button type="button" data-action="roll"></button><button type="button" data-action="clear"></button></seed-field>');
  const input = document.querySelector("input");
  const clear = document.querySelector<HTMLButtonElement>('[data-action="clear"]');
  expect(clear?.hidden).toBe(true);
  document.querySelector<HTMLElement>('[data-action="roll"]')?.click();
  expect(input?.value).toMatch(/^\d+$/);
  expect(clear?.hidden).toBe(false);
  clear?.click();
  expect(input?.value).toBe("");
  expect(document.activeElement).toBe(input);
});
