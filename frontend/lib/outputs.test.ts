import { expect, test } from "vitest";

import { playServer, record, settle } from "../test/pages";
import { fetchParameters, trashOutput } from "./outputs";

test("the trash offers a way back", async () => {
  const log = playServer(() => ({ body: "" }));
  const toasts = record<{ action?: { run: () => void } }>("studio:toast");
  const gone = record("studio:output-gone");
  const restored = record("studio:output-restored");
  expect(await trashOutput("out_1", "/o/trash", "/o/restore")).toBe(true);
  expect(gone).toEqual([{ output: "out_1" }]);
  toasts[0]?.action?.run();
  await settle();
  expect(log.map((asked) => asked.url)).toEqual(["/o/trash", "/o/restore"]);
  expect(restored).toEqual([{ output: "out_1" }]);
});

test("a refused deletion takes nothing away", async () => {
  playServer(() => ({ status: 403 }));
  const gone = record("studio:output-gone");
  expect(await trashOutput("out_1", "/o/trash", "/o/restore")).toBe(false);
  expect(gone).toEqual([]);
});

test("a recipe may stand alone or in an envelope", async () => {
  playServer(() => ({ body: '{"recipe":{"seed":7}}', type: "application/json" }));
  expect(await fetchParameters("/p")).toEqual({ seed: 7 });
  playServer(() => ({ body: '{"seed":8}', type: "application/json" }));
  expect(await fetchParameters("/p")).toEqual({ seed: 8 });
});

test("of an upscale only the prompt and the picture can be drawn with", async () => {
  const recipe = { prompt: "a mug", image: "cafe", scale: 4, width: 4096, height: 4096, model: "up" };
  playServer(() => ({ body: JSON.stringify({ recipe }), type: "application/json" }));
  expect(await fetchParameters("/p")).toEqual({ prompt: "a mug", image: "cafe" });
});

test("so it is of a picture without its background", async () => {
  const recipe = { prompt: "a mug", image: "cafe", cutout: true, width: 333, height: 200, model: "cut" };
  playServer(() => ({ body: JSON.stringify({ recipe }), type: "application/json" }));
  expect(await fetchParameters("/p")).toEqual({ prompt: "a mug", image: "cafe" });
});
