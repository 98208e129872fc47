import { afterEach, beforeEach, expect, test, vi } from "vitest";

import "./control-stack";
import { mount } from "../test/pages";

const CANNY = "c".repeat(64);
const ANY = "e".repeat(64);
const PICTURE = { sha256: "1".repeat(64), width: 96, height: 64, url: "/picture", mask: null, mask_url: null };
const MAP = { ...PICTURE, sha256: "2".repeat(64), url: "/map" };

function page(value = ""): void {
  mount(`<form>
    <input type="radio" name="model" value="house" checked><input type="radio" name="model" value="other">
    <input type="hidden" name="image" value=""><input name="width" value="128"><input name="height" value="64">
    <control-stack data-maximum="3" data-url="/uploads" data-map-url="/maps">
      <input type="hidden" name="controls" value="">
      <ol data-part="list"></ol>
      <select data-part="add"><option value=""></option>
        <option value="${CANNY}" data-models="house" data-kinds="canny">Edges</option>
        <option value="${ANY}" data-models="house other" data-kinds="">Whatever</option></select>
      <p data-part="none" hidden></p>
      <template data-part="row"><span class="controls__name"></span><button type="button" data-do="remove"></button>
        <p data-part="unfit" hidden></p>
        <select data-set="kind"><option value="canny" data-drawn="here"></option><option value="tile" data-drawn="here"></option><option value="depth" data-drawn="agent"></option><option value="openpose" data-drawn=""></option></select>
        <label data-part="drop"><input type="file"></label>
        <button type="button" data-do="start" data-part="start" hidden></button>
        <div data-part="pictures" hidden><img data-part="picture"><span data-part="facts"></span><figure data-part="drawn" hidden><img data-part="map"><button type="button" data-do="keep"></button></figure></div>
        <div data-part="actions" hidden><button type="button" data-do="draw" data-part="draw"></button><input type="checkbox" data-set="is_map"><button type="button" data-do="clear"></button></div>
        <p data-part="ready" hidden></p><p data-part="error" hidden></p>
        <input type="number" data-set="weight"><input type="range"><input type="number" data-set="start"><input type="number" data-set="end">
        <div data-part="thresholds" hidden><input type="number" data-set="low"><input type="number" data-set="high"></div>
      </template>
    </control-stack></form>`);
  const control = one<HTMLInputElement>('[name="controls"]');
  control.value = value;
  control.dispatchEvent(new Event("input", { bubbles: true }));
}

const one = <T extends HTMLElement>(selector: string): T => {
  const found = document.querySelector<T>(selector);
  if (!found) throw new Error(`nothing at ${selector}`);
  return found;
};
const row = <T extends HTMLElement>(selector: string): T => one<T>(`[data-row] ${selector}`);
const sent = (): Record<string, unknown>[] => JSON.parse(one<HTMLInputElement>('[name="controls"]').value || "[]") as Record<string, unknown>[];

function choose(value: string): void {
  const select = one<HTMLSelectElement>('[data-part="add"]');
  select.value = value;
  select.dispatchEvent(new Event("change", { bubbles: true }));
}

function type(selector: string, value: string): void {
  const input = row<HTMLInputElement>(selector);
  input.value = value;
  input.dispatchEvent(new Event("input", { bubbles: true }));
}

function answers(...bodies: unknown[]): ReturnType<typeof vi.fn> {
  const fetched = vi.fn();
  for (const body of bodies) {
    const isBad = "errors" in (body as object);
    const headers = { "Content-Type": isBad ? "application/problem+json" : "application/json" };
    fetched.mockResolvedValueOnce(new Response(JSON.stringify(body), { status: isBad ? 422 : 201, headers }));
  }
  vi.stubGlobal("fetch", fetched);
  return fetched;
}

function upload(): void {
  const file = row<HTMLInputElement>('input[type="file"]');
  Object.defineProperty(file, "files", { value: [new File(["x"], "a.png", { type: "image/png" })] });
  Object.defineProperty(file, "value", { value: "", writable: true });
  file.dispatchEvent(new Event("change", { bubbles: true }));
}

beforeEach(() => page());
afterEach(() => vi.unstubAllGlobals());

test("a control is added with its first kind, its picture is sent and its numbers are shares", async () => {
  choose(CANNY);
  expect(sent()).toEqual([{ kind: "canny", model: CANNY, weight: 1, start: 0, end: 1, low: 6, high: 16 }]);
  answers(PICTURE);
  upload();
  await vi.waitFor(() => expect(sent()[0]?.["image"]).toBe(PICTURE.sha256));
  type('[data-set="end"]', "60");
  type('[data-set="weight"]', "0.8");
  type('[data-set="start"]', "");
  expect(sent()[0]).toMatchObject({ weight: 0.8, start: 0, end: 0.6 });
  expect(row<HTMLImageElement>('[data-part="picture"]').getAttribute("src")).toBe("/picture");
});

test("the map is drawn at the form's size, shown, and not taken for the picture", async () => {
  page(JSON.stringify([{ kind: "canny", model: CANNY, image: PICTURE.sha256 }]));
  const fetched = answers(MAP);
  row('[data-do="draw"]').click();
  await vi.waitFor(() => expect(row('[data-part="drawn"]').hidden).toBe(false));
  const [url, request] = fetched.mock.calls[0] as [string, { body: URLSearchParams }];
  expect(url).toBe("/maps");
  expect(Object.fromEntries(request.body)).toEqual({ image: PICTURE.sha256, kind: "canny", width: "128", height: "64", low: "6", high: "16" });
  expect(sent()[0]?.["image"]).toBe(PICTURE.sha256);
  // It stays while others come, and goes when it is no more that of the picture
  choose(ANY);
  expect(row('[data-part="drawn"]').hidden).toBe(false);
  row('[data-do="clear"]').click();
  expect(row('[data-part="drawn"]').hidden).toBe(true);
});

const DEPTH = { kind: "depth", model: ANY, image: PICTURE.sha256, mapper: "d".repeat(64) };

test("a map that a network makes is a job, and shown when it is there", async () => {
  page(JSON.stringify([DEPTH]));
  expect(row('[data-part="draw"]').hidden).toBe(false);
  expect(row('[data-part="ready"]').hidden).toBe(true);
  const fetched = answers({ state_url: "/jobs/1/map" }, { is_over: true, start_url: "/outputs/2/start", message: "" }, MAP);
  row('[data-do="draw"]').click();
  row('[data-do="draw"]').click(); // pressed twice
  choose(CANNY); // draws all rows anew
  expect(one("[data-row]").hasAttribute("data-busy")).toBe(true);
  row('[data-do="draw"]').click();
  await vi.waitFor(() => expect(row('[data-part="drawn"]').hidden).toBe(false));
  expect(fetched.mock.calls.map(([url]) => url as string)).toEqual(["/maps", "/jobs/1/map", "/outputs/2/start"]);
  expect(Object.fromEntries((fetched.mock.calls[0] as [string, { body: URLSearchParams }])[1].body)).toEqual({
    image: PICTURE.sha256,
    kind: "depth",
    width: "128",
    height: "64",
    mapper: DEPTH.mapper,
  });
  // It is drawn again with the picture, by what drew it before
  expect(sent()[0]).toMatchObject(DEPTH);
  // unless it takes the picture's place
  row('[data-do="keep"]').click();
  expect(one("[data-row]").hasAttribute("data-busy")).toBe(false);
  expect(sent()[0]).toEqual({ kind: "depth", model: ANY, map: MAP.sha256, weight: 1, start: 0, end: 1 });
  expect(row<HTMLImageElement>('[data-part="picture"]').getAttribute("src")).toBe("/map");
  expect(row('[data-part="drawn"]').hidden).toBe(true);
});

test("a map that was not made says why in its row", async () => {
  page(JSON.stringify([DEPTH]));
  answers({ state_url: "/jobs/1/map" }, { is_over: true, start_url: "", message: "The model is broken." });
  row('[data-do="draw"]').click();
  await vi.waitFor(() => expect(row('[data-part="error"]').textContent).toBe("The model is broken."));
});

test("another kind of map is not made by the same network", () => {
  page(JSON.stringify([DEPTH]));
  const kind = row<HTMLSelectElement>('[data-set="kind"]');
  kind.value = "tile";
  kind.dispatchEvent(new Event("change", { bubbles: true }));
  expect(sent()[0]).not.toHaveProperty("mapper");
});

test("what cannot be drawn is said in its row", async () => {
  page(JSON.stringify([{ kind: "canny", model: CANNY, image: PICTURE.sha256 }]));
  answers({ errors: [{ field: "image", message: "That picture is not in this workspace; add it again." }] });
  row('[data-do="draw"]').click();
  await vi.waitFor(() => expect(row('[data-part="error"]').textContent).toContain("not in this workspace"));
});

test("a ready map takes the place of the picture", () => {
  page(JSON.stringify([{ kind: "canny", model: CANNY, image: PICTURE.sha256 }]));
  const box = row<HTMLInputElement>('[type="checkbox"]');
  box.checked = true;
  box.dispatchEvent(new Event("change", { bubbles: true }));
  expect(sent()[0]).toEqual({ kind: "canny", model: CANNY, map: PICTURE.sha256, weight: 1, start: 0, end: 1 });
  expect(row('[data-part="draw"]').hidden).toBe(true);
});

test("kinds that are not drawn here are maps", () => {
  choose(ANY);
  const kind = row<HTMLSelectElement>('[data-set="kind"]');
  kind.value = "openpose";
  kind.dispatchEvent(new Event("change", { bubbles: true }));
  expect(row<HTMLInputElement>('[type="checkbox"]').checked).toBe(true);
  expect(row<HTMLInputElement>('[type="checkbox"]').disabled).toBe(true);
  expect(row('[data-part="ready"]').hidden).toBe(false);
});

test("a known ControlNet offers its kinds alone", () => {
  choose(CANNY);
  expect([...row<HTMLSelectElement>('[data-set="kind"]').options].map((each) => each.value)).toEqual(["canny"]);
});

test("the starting picture can be followed, too", () => {
  one<HTMLInputElement>('[name="image"]').value = PICTURE.sha256;
  choose(CANNY);
  row('[data-do="start"]').click();
  expect(sent()[0]?.["image"]).toBe(PICTURE.sha256);
});

test("what does not fit the model is left out and waits", () => {
  page(JSON.stringify([{ kind: "canny", model: CANNY, image: PICTURE.sha256 }, { kind: "tile", model: ANY, image: PICTURE.sha256 }]));
  const other = one<HTMLInputElement>('[value="other"]');
  other.checked = true;
  other.dispatchEvent(new Event("input", { bubbles: true }));
  expect(sent().map((each) => each["model"])).toEqual([ANY]);
  expect(row('[data-part="unfit"]').hidden).toBe(false);
});

test("three are the most, and each can be removed", () => {
  for (const model of [CANNY, ANY, CANNY]) choose(model);
  expect(one<HTMLSelectElement>('[data-part="add"]').disabled).toBe(true);
  row('[data-do="remove"]').click();
  expect(sent().map((each) => each["model"])).toEqual([ANY, CANNY]);
  expect(one<HTMLSelectElement>('[data-part="add"]').disabled).toBe(false);
});

test("parameters bring controls back, and a recipe without them takes them off", () => {
  const control = one<HTMLInputElement>('[name="controls"]');
  control.value = JSON.stringify([{ kind: "canny", model: CANNY, map: MAP.sha256, weight: 0.5, start: 0.1, end: 0.9 }]);
  control.dispatchEvent(new Event("input", { bubbles: true }));
  expect(row<HTMLInputElement>('[data-set="start"]').value).toBe("10");
  expect(sent()[0]).toMatchObject({ map: MAP.sha256, weight: 0.5 });
  control.value = "not json";
  control.dispatchEvent(new Event("input", { bubbles: true }));
  expect(document.querySelector("[data-row]")).toBeNull();
});

test("a reference needs no ControlNet", async () => {
  mount(`<form><input type="radio" name="model" value="house" checked>
    <control-stack data-field="references" data-maximum="3" data-url="/uploads">
      <input type="hidden" name="references" value=""><ol data-part="list"></ol>
      <select data-part="add"><option value=""></option><option value="reference" data-models="house">Reference</option></select>
      <template data-part="row"><span class="controls__name"></span><label data-part="drop"><input type="file"></label>
        <div data-part="pictures" hidden><img data-part="picture"></div><p data-part="error" hidden></p>
        <input type="number" data-set="weight"><input type="number" data-set="start"><input type="number" data-set="end"></template>
    </control-stack></form>`);
  const taken = (): unknown => JSON.parse(one<HTMLInputElement>('[name="references"]').value);
  choose("reference");
  expect(taken()).toEqual([{ kind: "reference", weight: 1, start: 0, end: 1 }]);
  answers(PICTURE);
  upload();
  await vi.waitFor(() => expect(taken()).toEqual([{ kind: "reference", image: PICTURE.sha256, weight: 1, start: 0, end: 1 }]));
  const control = one<HTMLInputElement>('[name="references"]');
  control.value = JSON.stringify([{ kind: "reference", image: PICTURE.sha256, weight: 0.5, start: 0, end: 0.4 }]);
  control.dispatchEvent(new Event("input", { bubbles: true }));
  expect(row<HTMLInputElement>('[data-set="end"]').value).toBe("40");
});

test("an IP-Adapter is a reference that is named", async () => {
  const adapter = "e".repeat(64);
  mount(`<form><input type="radio" name="model" value="house" checked>
    <control-stack data-field="references" data-maximum="3" data-url="/uploads">
      <input type="hidden" name="references" value=""><ol data-part="list"></ol>
      <select data-part="add"><option value=""></option><option value="reference" data-models="house">Reference</option>
        <option value="${adapter}" data-models="house" data-kinds="ip_adapter">Likeness</option></select>
      <template data-part="row"><span class="controls__name"></span><label data-part="drop"><input type="file"></label>
        <div data-part="pictures" hidden><img data-part="picture" alt="Reference picture"></div><p data-part="error" hidden></p>
        <input type="number" data-set="weight"><input type="number" data-set="start"><input type="number" data-set="end"></template>
    </control-stack></form>`);
  const taken = (): unknown => JSON.parse(one<HTMLInputElement>('[name="references"]').value);
  choose(adapter);
  expect(row(".controls__name").textContent).toBe("Likeness");
  answers(PICTURE);
  upload();
  const wire = { kind: "ip_adapter", model: adapter, image: PICTURE.sha256, weight: 1, start: 0, end: 1 };
  await vi.waitFor(() => expect(taken()).toEqual([wire]));
  expect(row<HTMLImageElement>('[data-part="picture"]').alt).toBe("Reference picture");
  const control = one<HTMLInputElement>('[name="references"]');
  control.value = JSON.stringify([{ ...wire, weight: 0.5 }, { kind: "reference", image: PICTURE.sha256 }]);
  control.dispatchEvent(new Event("input", { bubbles: true }));
  expect(taken()).toEqual([{ ...wire, weight: 0.5 }, { kind: "reference", image: PICTURE.sha256, weight: 1, start: 0, end: 1 }]);
});
