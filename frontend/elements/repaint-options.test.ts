import { beforeEach, expect, test } from "vitest";

import "./repaint-options";
import "./start-picture";
import { emit } from "../lib/dom";
import { mount, playServer, settle } from "../test/pages";
import type { StartPicture } from "./start-picture";

const picker = (field: string, more = ""): string => `<start-picture data-url="/uploads" data-field="${field}">
  <input type="hidden" name="${field}" value=""><label data-part="drop"><input type="file"><span data-part="text">Drop</span></label>
  <div data-part="card" hidden><img data-part="picture"><p data-part="facts"></p><button type="button" data-action="remove"></button></div>
  <p id="error_${field}" hidden></p>${more}</start-picture>`;

beforeEach(() => {
  mount(`<form><input name="width" value="128"><input name="height" value="128"><input name="strength" value="0.7">
    ${picker("image")}
    <repaint-options><fieldset data-part="all" hidden disabled>
      ${picker("mask", '<button type="button" data-action="use-transparent" data-part="transparent" hidden></button>')}
      <fieldset data-part="area" hidden disabled><select name="inpaint_area"><option value="whole" selected></option><option value="masked"></option></select></fieldset>
      <fieldset data-part="padding" hidden disabled><input name="mask_padding" value="32"></fieldset>
      <fieldset data-part="extension"><details data-part="extend">
        ${["left", "top", "right", "bottom"].map((side) => `<input name="outpaint_${side}" value="0">`).join("")}
        <p data-part="kept"></p>
      </details></fieldset>
      <fieldset data-part="edge" hidden disabled><input name="mask_blur" value="4"></fieldset>
    </fieldset></repaint-options></form>`);
});

const form = (): HTMLFormElement => document.querySelector("form") as HTMLFormElement;
const control = (name: string): HTMLInputElement => form().elements.namedItem(name) as HTMLInputElement;
const picture = (field: string): StartPicture => document.querySelector(`[data-field="${field}"]`) as StartPicture;
const isShown = (name: string): boolean => !document.querySelector<HTMLElement>(`[data-part="${name}"]`)?.hidden;
const sent = (): string[] =>
  [...form().elements]
    .filter((each): each is HTMLInputElement => "name" in each && each.name !== "" && !each.closest("fieldset[disabled]"))
    .map((each) => each.name)
    .filter((name) => !["width", "height", "strength", "image"].includes(name));
const file = new File(["x"], "x.png", { type: "image/png" });

function serve(...answers: { sha256: string; mask?: string; mask_url?: string }[]): void {
  playServer(() => ({
    body: JSON.stringify({ id: "art_1", width: 64, height: 64, url: "/media/art_1", mask: null, ...answers.shift() }),
    type: "application/json",
  }));
}

function set(name: string, value: string): void {
  control(name).value = value;
  control(name).dispatchEvent(new Event("input", { bubbles: true }));
}

async function add(field: string): Promise<void> {
  await picture(field).upload(file);
  await settle();
}

test("without a starting picture nothing of a mask is shown or sent", () => {
  expect(isShown("all")).toBe(false);
  expect(sent()).toEqual([]);
});

test("a mask brings its settings, and its area the padding", async () => {
  serve({ sha256: "cafe" }, { sha256: "beef" });
  await add("image");
  expect([isShown("all"), isShown("area"), isShown("edge")]).toEqual([true, false, false]);
  expect(sent()).toEqual(["mask", "outpaint_left", "outpaint_top", "outpaint_right", "outpaint_bottom"]);
  await add("mask");
  expect(control("mask").value).toBe("beef");
  expect([isShown("area"), isShown("edge"), isShown("padding")]).toEqual([true, true, false]);
  set("inpaint_area", "masked");
  expect(isShown("padding")).toBe(true);
  expect(sent()).toContain("mask_padding");
  picture("mask").querySelector<HTMLElement>('[data-action="remove"]')?.click();
  await settle();
  expect([isShown("area"), isShown("padding"), isShown("edge")]).toEqual([false, false, false]);
  expect(sent()).not.toContain("inpaint_area");
});

test("what was set waits while the starting picture is away", async () => {
  serve({ sha256: "cafe" }, { sha256: "beef" }, { sha256: "f00d" });
  await add("image");
  await add("mask");
  picture("image").querySelector<HTMLElement>('[data-action="remove"]')?.click();
  await settle();
  expect([isShown("all"), sent()]).toEqual([false, []]);
  await add("image");
  expect(control("mask").value).toBe("beef");
  expect(sent()).toContain("mask");
});

test("a mask starts from nothing, unless a strength was chosen", async () => {
  serve({ sha256: "cafe" }, { sha256: "beef" }, { sha256: "f00d" });
  await add("image");
  await add("mask");
  expect(control("strength").value).toBe("1");
  picture("mask").querySelector<HTMLElement>('[data-action="remove"]')?.click();
  await settle();
  expect(control("strength").value).toBe("0.7"); // or nothing of the starting picture would be left
  set("strength", "0.5");
  await add("mask");
  expect(control("strength").value).toBe("0.5");
});

test("the transparent parts of the picture are offered as its mask", async () => {
  serve({ sha256: "cafe", mask: "0123", mask_url: "/media/art_2" });
  await add("image");
  expect(isShown("transparent")).toBe(true);
  document.querySelector<HTMLElement>('[data-action="use-transparent"]')?.click();
  await settle();
  expect(control("mask").value).toBe("0123");
  expect([isShown("transparent"), isShown("area")]).toEqual([false, true]);
  expect(picture("mask").querySelector("img")?.getAttribute("src")).toBe("/media/art_2");
});

test("a mask that is transparent in parts means these", async () => {
  serve({ sha256: "cafe" }, { sha256: "beef", mask: "0123" });
  await add("image");
  await add("mask");
  expect(control("mask").value).toBe("0123");
});

test("an extension says how much is left for the picture, and has a soft edge", async () => {
  serve({ sha256: "cafe" });
  await add("image");
  set("outpaint_left", "16");
  set("outpaint_bottom", "32");
  expect(document.querySelector('[data-part="kept"]')?.textContent).toBe("The picture fills 112 × 96 of 128 × 128.");
  expect(isShown("edge")).toBe(true);
  set("outpaint_left", "128");
  expect(document.querySelector('[data-part="kept"]')?.textContent).toContain("Nothing");
});

test("with a mask nothing is extended; what was set waits", async () => {
  serve({ sha256: "cafe" }, { sha256: "beef" });
  await add("image");
  set("outpaint_left", "16");
  expect(document.querySelector("details")?.open).toBe(true);
  await add("mask");
  expect(isShown("extension")).toBe(false);
  expect(sent()).not.toContain("outpaint_left");
  picture("mask").querySelector<HTMLElement>('[data-action="remove"]')?.click();
  await settle();
  expect([isShown("extension"), control("outpaint_left").value]).toEqual([true, "16"]);
});

test("parameters that came along are shown", async () => {
  for (const [name, value] of [["image", "cafe"], ["mask", "beef"], ["inpaint_area", "masked"]] as const) {
    control(name).value = value;
    control(name).dispatchEvent(new CustomEvent("filled", { bubbles: true }));
  }
  await settle();
  expect([isShown("all"), isShown("area"), isShown("padding")]).toEqual([true, true, true]);
  expect(control("strength").value).toBe("0.7");
});

test("a picture from the viewer becomes the starting picture, and the mask stays", async () => {
  serve({ sha256: "cafe" }, { sha256: "beef" });
  await add("image");
  await add("mask");
  emit("studio:start-picture", { picture: { sha256: "f00d", width: 64, height: 64, url: "/media/art_9", mask: null } });
  await settle();
  expect([control("image").value, control("mask").value]).toEqual(["f00d", "beef"]);
});
