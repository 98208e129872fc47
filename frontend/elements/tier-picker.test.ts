import { afterEach, beforeEach, expect, test, vi } from "vitest";

import "./tier-picker";
import { emit } from "../lib/dom";
import { mount, playServer, type Reply } from "../test/pages";

const FORM = `<form><textarea name="prompt">secret</textarea><input name="width" value="512"><input name="image" value="">
  <tier-picker data-url="/w/w/forecast">
    <input type="radio" name="tier" value="turbo"><input type="radio" name="tier" value="fast" checked>
    <span data-wait="turbo">–</span><span data-wait="fast">–</span><span data-part="price">–</span><span data-part="ahead"></span>
  </tier-picker></form>`;
const words = (price: string, is_complete = true): Reply => ({
  type: "application/json",
  body: JSON.stringify({
    price,
    is_complete,
    tiers: { turbo: { wait: "at once", ahead: "nothing ahead", ground: "" }, fast: { wait: "2–5 s", ahead: "3 jobs ahead", ground: "" } },
  }),
});

let reply: Reply | "offline";
let log: ReturnType<typeof playServer>;
beforeEach(() => {
  vi.useFakeTimers();
  localStorage.clear();
  reply = words("≈ 3 GPU s");
  log = playServer(() => reply);
});
afterEach(() => {
  document.body.replaceChildren();
  vi.useRealTimers();
});

const text = (selector: string): string => document.querySelector(selector)?.textContent ?? "";
const input = (name: string, value: string): void => {
  const field = document.querySelector(`[name="${name}"]`) as HTMLInputElement;
  field.value = value;
  field.dispatchEvent(new Event("input", { bubbles: true }));
};
const choose = (value: string): void => {
  const radio = document.querySelector(`[value="${value}"]`) as HTMLInputElement;
  radio.checked = true;
  radio.dispatchEvent(new Event("change", { bubbles: true }));
};

test("it says what each tier means, and the note is of the chosen one", async () => {
  mount(FORM);
  await vi.advanceTimersByTimeAsync(500);
  expect(text('[data-wait="turbo"]')).toBe("at once");
  expect([text('[data-part="price"]'), text('[data-part="ahead"]')]).toEqual(["≈ 3 GPU s", "3 jobs ahead"]);
  choose("turbo");
  expect(text('[data-part="ahead"]')).toBe("nothing ahead");
});

test("many changes ask once, prompts are not sent, and words alone ask nothing", async () => {
  mount(FORM);
  input("width", "640");
  input("width", "768");
  await vi.advanceTimersByTimeAsync(500);
  input("prompt", "another secret");
  await vi.advanceTimersByTimeAsync(500);
  expect(log.map(({ url }) => url)).toEqual(["/w/w/forecast?width=768"]);
  emit("studio:jobs-changed", { job: "job_1" });
  await vi.advanceTimersByTimeAsync(500);
  expect(log).toHaveLength(2);
});

test("after a change of the queue it looks again a second later, when the dispatcher has said so", async () => {
  mount(FORM);
  await vi.advanceTimersByTimeAsync(500);
  emit("studio:jobs-changed", { job: "job_1" });
  await vi.advanceTimersByTimeAsync(5_000);
  expect(log).toHaveLength(3);
});

test("what is not known, or wrong, is a dash and not an old number", async () => {
  mount(FORM);
  await vi.advanceTimersByTimeAsync(500);
  reply = { status: 422, type: "application/json", body: '{"errors":[{"field":"width","message":"no"}]}' };
  input("width", "1");
  await vi.advanceTimersByTimeAsync(500);
  expect([text('[data-part="price"]'), text('[data-wait="fast"]')]).toEqual(["–", "–"]);
});

test("the dispatcher is given a second to tell, a few times", async () => {
  reply = words("≈ 3 GPU s", false);
  mount(FORM);
  await vi.advanceTimersByTimeAsync(8_000);
  expect(log).toHaveLength(4);
});

test("an answer that comes late does not cover a newer one", async () => {
  const waiting: ((reply: Reply) => void)[] = [];
  log = playServer(() => new Promise<Reply>((resolve) => waiting.push(resolve)));
  mount(FORM);
  await vi.advanceTimersByTimeAsync(500);
  input("width", "1024");
  await vi.advanceTimersByTimeAsync(500);
  waiting[1]?.(words("new"));
  await vi.advanceTimersByTimeAsync(1);
  waiting[0]?.(words("old"));
  await vi.advanceTimersByTimeAsync(1);
  expect(text('[data-part="price"]')).toBe("new");
});

test("the choice is remembered", () => {
  mount(FORM);
  choose("turbo");
  mount(FORM);
  expect((document.querySelector('[value="turbo"]') as HTMLInputElement).checked).toBe(true);
});
