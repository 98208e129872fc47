import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import "./prompt-count";

function answer(body: unknown, status = 200): Response {
  return new Response(JSON.stringify(body), { status, headers: { "Content-Type": "application/json" } });
}

function form(prompt: string): HTMLFormElement {
  document.body.innerHTML = `<form><textarea name="prompt"></textarea><textarea name="negative_prompt"></textarea>
    <prompt-count data-url="/count" hidden><p data-part="note"></p><p data-part="error" hidden></p></prompt-count></form>`;
  const made = document.querySelector("form");
  const box = document.querySelector<HTMLTextAreaElement>('[name="prompt"]');
  if (!made || !box) throw new Error("no form");
  box.value = prompt;
  box.dispatchEvent(new Event("input", { bubbles: true }));
  return made;
}

const text = (name: string): string => document.querySelector(`[data-part="${name}"]`)?.textContent ?? "";
const isHidden = (): boolean => document.querySelector("prompt-count")?.hasAttribute("hidden") ?? true;

describe("prompt-count", () => {
  beforeEach(() => vi.useFakeTimers());
  afterEach(() => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  it("says how many pictures alternatives make", async () => {
    const ask = vi.fn(() => Promise.resolve(answer({ varies: true, jobs: 3, pictures: 24 })));
    vi.stubGlobal("fetch", ask);
    form("a {red|blue} car");
    await vi.runAllTimersAsync();
    expect(text("note")).toBe("This makes 24 pictures.");
    expect(isHidden()).toBe(false);
  });

  it("sends no prompt that has none", async () => {
    const ask = vi.fn();
    vi.stubGlobal("fetch", ask);
    form("a red car, 1_2 {braces} a__b");
    await vi.runAllTimersAsync();
    expect(ask).not.toHaveBeenCalled();
    expect(isHidden()).toBe(true);
  });

  it("says what is wrong, and is quiet again when it is taken out", async () => {
    const wrong = { errors: [{ field: "prompt", message: "There is no wildcard list." }] };
    vi.stubGlobal("fetch", vi.fn(() => Promise.resolve(answer(wrong, 422))));
    form("a __beast__");
    await vi.runAllTimersAsync();
    expect(text("error")).toBe("There is no wildcard list.");
    const box = document.querySelector<HTMLTextAreaElement>('[name="prompt"]');
    if (box) box.value = "a fox";
    box?.dispatchEvent(new Event("input", { bubbles: true }));
    expect(isHidden()).toBe(true);
  });
});
