import { beforeEach, expect, test } from "vitest";

import "./start-picture";
import { mount, playServer, press, settle } from "../test/pages";
import type { StartPicture } from "./start-picture";

beforeEach(() => {
  mount(`<form><start-picture data-url="/uploads" data-address-url="/uploads/from-address"><input type="hidden" name="image" value="">
    <label data-part="drop"><input type="file"><span data-part="text">Drop</span></label>
    <div data-part="web"><button type="button" data-action="open-address" aria-expanded="false"></button>
    <div data-part="address" hidden><input id="id_image_address"><button type="button" data-action="fetch"></button></div></div>
    <div data-part="card" hidden><img data-part="picture"><p data-part="facts"></p><button type="button" data-action="remove"></button></div>
    <p id="error_image" hidden></p><div data-part="strength" hidden></div></start-picture></form>`);
});

const element = (): StartPicture => document.querySelector("start-picture") as StartPicture;
const value = (): string => (document.querySelector('[name="image"]') as HTMLInputElement).value;
const isHidden = (name: string): boolean => document.querySelector<HTMLElement>(`[data-part="${name}"]`)?.hasAttribute("hidden") ?? true;
const file = new File(["x"], "x.png", { type: "image/png" });

test("an accepted picture is in the recipe by its hash, and brings the strength along", async () => {
  playServer(() => ({ body: '{"id":"art_1","sha256":"abc123","width":640,"height":480,"url":"/media/art_1"}', type: "application/json" }));
  await element().upload(file);
  expect(value()).toBe("abc123");
  expect([isHidden("card"), isHidden("drop"), isHidden("strength")]).toEqual([false, true, false]);
  expect(document.querySelector('[data-part="facts"]')?.textContent).toBe("640 × 480");
  document.querySelector<HTMLElement>('[data-action="remove"]')?.click();
  expect(value()).toBe("");
  expect([isHidden("card"), isHidden("drop"), isHidden("strength")]).toEqual([true, false, true]);
});

test("a broken picture is told at the field", async () => {
  playServer(() => ({ status: 422, type: "application/problem+json", body: '{"errors":[{"field":"file","message":"This file is not a picture."}]}' }));
  await element().upload(file);
  expect(document.getElementById("error_image")).toMatchObject({ hidden: false, textContent: "This file is not a picture." });
  expect(value()).toBe("");
  expect(document.querySelector('[data-part="text"]')?.textContent).toBe("Drop");
});

const address = (): HTMLInputElement => document.querySelector("#id_image_address") as HTMLInputElement;
const click = (action: string): void => document.querySelector<HTMLElement>(`[data-action="${action}"]`)?.click();
const made = { body: '{"id":"art_1","sha256":"abc123","width":640,"height":480,"url":"/media/art_1"}', type: "application/json" };

/** What a browser hands over with a drop or a paste. */
function handed(texts: Record<string, string>, files: File[] = []): DataTransfer {
  return { files, getData: (type: string) => texts[type] ?? "" } as unknown as DataTransfer;
}

function happen(type: "drop" | "paste", data: DataTransfer, target: EventTarget = element()): Event {
  const event = new Event(type, { bubbles: true, cancelable: true });
  Object.assign(event, type === "drop" ? { dataTransfer: data } : { clipboardData: data });
  target.dispatchEvent(event);
  return event;
}

test("an address that was typed is fetched by the server, by key or button", async () => {
  const asked = playServer(() => made);
  expect(isHidden("address")).toBe(true);
  click("open-address");
  expect(isHidden("address")).toBe(false);
  expect(document.activeElement).toBe(address());
  address().value = " https://example.org/a.png?x=1&y=2 ";
  expect(press("Enter", address()).defaultPrevented).toBe(true);
  click("fetch"); // the second press does nothing
  await settle();
  expect(asked.map(({ url, method, body }) => [url, method, body])).toEqual([
    ["/uploads/from-address", "POST", "url=https%3A%2F%2Fexample.org%2Fa.png%3Fx%3D1%26y%3D2"],
  ]);
  expect([value(), address().value]).toEqual(["abc123", ""]);
  expect([isHidden("card"), isHidden("web")]).toEqual([false, true]);
});

test("a refused address is told at the field and stays written", async () => {
  playServer(() => ({ status: 422, type: "application/problem+json", body: '{"errors":[{"field":"url","message":"Nothing could be fetched."}]}' }));
  click("open-address");
  address().value = "https://example.org/a.png";
  click("fetch");
  await settle();
  expect(document.getElementById("error_image")).toMatchObject({ hidden: false, textContent: "Nothing could be fetched." });
  expect([address().value, address().getAttribute("aria-invalid")]).toEqual(["https://example.org/a.png", "true"]);
  expect(element().hasAttribute("data-busy")).toBe(false);
});

test("a picture dropped from another page is fetched: the image, not the link around it", async () => {
  const asked = playServer(() => made);
  happen("drop", handed({ "text/html": '<a href="https://a.org/page"><img src="https://a.org/cat.png"></a>', "text/uri-list": "https://a.org/page" }));
  await settle();
  expect(asked[0]?.body).toBe("url=https%3A%2F%2Fa.org%2Fcat.png");
});

test("a dropped file is sent itself, whatever address comes with it", async () => {
  const asked = playServer(() => made);
  happen("drop", handed({ "text/uri-list": "https://a.org/cat.png" }, [file]));
  await settle();
  expect(asked[0]?.url).toBe("/uploads");
});

test("a dropped text without an address is told", () => {
  happen("drop", handed({ "text/plain": "a cat", "text/html": '<img src="data:image/png;base64,AA">' }));
  expect(document.getElementById("error_image")?.textContent).toContain("no picture");
});

test("an address is taken from a paste on the page, never from one into a text", async () => {
  const asked = playServer(() => made);
  const prompt = document.querySelector("form")?.appendChild(document.createElement("textarea")) as HTMLElement;
  expect(happen("paste", handed({ "text/plain": "https://a.org/cat.png" }), prompt).defaultPrevented).toBe(false);
  expect(happen("paste", handed({ "text/plain": "https://a.org/cat.png" }), address()).defaultPrevented).toBe(false);
  expect(happen("paste", handed({ "text/plain": "see https://a.org" }), document.body).defaultPrevented).toBe(false);
  expect(happen("paste", handed({ "text/plain": "https://a.org/cat.png" }), document.body).defaultPrevented).toBe(true);
  await settle();
  expect(asked).toHaveLength(1);
});

test("where fetching is off, addresses are left to the browser", () => {
  const asked = playServer(() => made);
  delete element().dataset.addressUrl;
  expect(happen("paste", handed({ "text/plain": "https://a.org/cat.png" }), document.body).defaultPrevented).toBe(false);
  happen("drop", handed({ "text/uri-list": "https://a.org/cat.png" }));
  expect(asked).toHaveLength(0);
});

test("a hash that came with parameters is shown", () => {
  const input = document.querySelector('[name="image"]') as HTMLInputElement;
  input.value = "0123456789abcdef";
  input.dispatchEvent(new CustomEvent("filled", { bubbles: true }));
  expect(isHidden("card")).toBe(false);
  expect(isHidden("strength")).toBe(false);
  expect(document.querySelector('[data-part="facts"]')?.textContent).toBe("0123456789ab…");
});
