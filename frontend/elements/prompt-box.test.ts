import { afterEach, beforeEach, expect, test } from "vitest";

import "./prompt-box";
import { handleKey } from "../lib/keys";
import { mount, press, roomHtml } from "../test/pages";

const heard = (event: KeyboardEvent): void => void handleKey(event);
beforeEach(() => {
  document.addEventListener("keydown", heard);
  mount(roomHtml(
    "",
    `<recipe-form><form><prompt-box><span data-part="count" hidden></span><textarea name="prompt" data-maximum="20"></textarea>
     <p data-part="history" hidden><span data-part="history-note"></span><button data-action="clear-history"></button></p></prompt-box></form></recipe-form>`,
  ));
});
afterEach(() => {
  document.removeEventListener("keydown", heard);
  document.body.replaceChildren();
});

const box = (): HTMLTextAreaElement => document.querySelector("textarea") as HTMLTextAreaElement;
const sent = (prompt: string): void => void document.querySelector("recipe-form")?.dispatchEvent(new CustomEvent("prompt-sent", { detail: prompt }));

test("sent prompts are walked through with the keys, and cleared on request", () => {
  const line = document.querySelector<HTMLElement>('[data-part="history"]');
  expect(line?.hidden).toBe(true);
  sent("one");
  sent("two");
  expect(line?.hidden).toBe(false);
  expect(line?.textContent).toContain("2 prompts of 50");
  box().value = "three";
  press("ArrowUp", box(), { altKey: true });
  press("ArrowUp", box(), { altKey: true });
  expect(box().value).toBe("one");
  press("ArrowDown", box(), { altKey: true });
  press("ArrowDown", box(), { altKey: true });
  expect(box().value).toBe("three");
  document.querySelector<HTMLElement>('[data-action="clear-history"]')?.click();
  expect(line?.hidden).toBe(true);
  press("ArrowUp", box(), { altKey: true });
  expect(box().value).toBe("three");
});

test("near its end the prompt shows its length", () => {
  const count = document.querySelector<HTMLElement>('[data-part="count"]');
  box().value = "short";
  box().dispatchEvent(new Event("input", { bubbles: true }));
  expect(count?.hidden).toBe(true);
  box().value = "x".repeat(21);
  box().dispatchEvent(new Event("input", { bubbles: true }));
  expect(count?.textContent).toBe("21 / 20");
  expect(count?.hasAttribute("data-over")).toBe(true);
});
