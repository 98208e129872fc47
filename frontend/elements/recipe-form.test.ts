import { afterEach, beforeEach, expect, test } from "vitest";

import "./job-tile";
import "./recipe-form";
import { emit } from "../lib/dom";
import { recallRecipe, saveDraft } from "../lib/drafts";
import { mount, playServer, record, type Reply, roomHtml, settle, tileHtml } from "../test/pages";
import type { RecipeForm } from "./recipe-form";

const FORM = `<recipe-form data-connected="1" data-warm="0"><form action="/w/w/jobs">
  <div data-field="prompt"><textarea name="prompt">A boat</textarea><p class="field__error" id="error_prompt" hidden></p></div>
  <input name="width" value="512"><input name="height" value="768"><p class="field__error" id="error_width" hidden></p>
  <details><input name="clip_skip" value="0"><p class="field__error" id="error_clip_skip" hidden></p></details>
  <input name="seed" value=""><input name="num_images_per_prompt" value="4">
  <input type="radio" name="model" value="a" checked><input type="radio" name="model" value="b">
  <div data-part="problems"></div>
  <button id="generate" type="submit"><span data-part="label"></span><span data-part="size"></span></button><span data-part="note"></span>
</form></recipe-form>`;

let replies: (Reply | "offline")[];
let log: ReturnType<typeof playServer>;
beforeEach(() => {
  replies = [];
  log = playServer(({ method }) => (method === "POST" ? (replies.shift() ?? { status: 201, body: tileHtml({ job: "job_new" }) }) : { body: "" }));
  mount(roomHtml("", FORM));
});
afterEach(() => document.body.replaceChildren());

const form = (): RecipeForm => document.querySelector("recipe-form") as RecipeForm;
const value = (name: string): string => (form().querySelector(`[name="${name}"]`) as HTMLInputElement).value;
const keys = (): (string | null)[] => log.filter((asked) => asked.method === "POST").map((asked) => new URLSearchParams(asked.body).get("idempotency_key"));
const text = (name: string): string => form().querySelector(`[data-part="${name}"]`)?.textContent ?? "";

test("the button says what it will do, and the agents what to expect", () => {
  expect(text("label")).toBe("Generate 4 pictures");
  expect(text("size")).toBe("· 512×768");
  expect(text("note")).toContain("loading");
  emit("studio:agents", { warm: 1, connected: 1, digests: [] });
  expect(text("note")).toContain("warm");
  const count = form().querySelector('[name="num_images_per_prompt"]') as HTMLInputElement;
  count.value = "1";
  count.dispatchEvent(new Event("input", { bubbles: true }));
  expect(text("label")).toBe("Generate 1 picture");
});

test("a press makes one job, put at the front of the gallery and on the stage", async () => {
  const submitted = record("studio:submitted");
  await form().send();
  expect(document.querySelector<HTMLElement>("#gallery job-tile")?.dataset.job).toBe("job_new");
  expect(submitted).toEqual([{ job: "job_new", rerun: false }]);
  expect(recallRecipe("w", "job_new")).toMatchObject({ prompt: "A boat" });
});

test("two presses while the first is under way make one job, the next press another", async () => {
  await Promise.all([form().send(), form().send()]);
  await form().send();
  expect(keys()).toHaveLength(2);
  expect(new Set(keys()).size).toBe(2);
});

test("a press without an answer is repeated under the same key, unless something was changed", async () => {
  replies = ["offline", { status: 503 }, { status: 503 }];
  await form().send();
  expect(text("problems")).toContain("Nothing is lost");
  await form().send();
  (form().querySelector('[name="prompt"]') as HTMLTextAreaElement).value = "Another boat";
  await form().send();
  const [first, second, third] = keys();
  expect(second).toBe(first);
  expect(third).not.toBe(first);
  expect(value("prompt")).toBe("Another boat");
});

test("problems stand at their fields, the first one has the focus, and nothing typed is lost", async () => {
  replies = [
    {
      status: 422,
      body: `<div data-form-errors><ul><li data-field="width">Too wide.</li><li data-field="clip_skip">Too much.</li><li data-field="lora">Not known.</li></ul></div>`,
    },
  ];
  await form().send();
  const width = form().querySelector('[name="width"]') as HTMLInputElement;
  expect(document.getElementById("error_width")).toMatchObject({ hidden: false, textContent: "Too wide." });
  expect(width.getAttribute("aria-invalid")).toBe("true");
  expect(width.getAttribute("aria-describedby")).toBe("error_width");
  expect(document.activeElement).toBe(width);
  expect(form().querySelector("details")?.open).toBe(true);
  expect(text("problems")).toBe("3 settings need a change. Not known.");
  expect(value("prompt")).toBe("A boat");
  await form().send();
  expect(document.getElementById("error_width")?.hidden).toBe(true);
  expect(form().querySelector("[aria-invalid]")).toBeNull();
});

test("too much at once is a sentence at the button", async () => {
  replies = [{ status: 429, headers: { "retry-after": "3" } }];
  await form().send();
  expect(text("problems")).toBe("That is a lot at once. Try again in 3 seconds.");
});

test("all parameters, or one part of them, are taken over", () => {
  const values = { prompt: "A lake", width: 256, height: 128, seed: 42, model: "b", num_images_per_prompt: 1 };
  emit("studio:use-parameters", { values, part: "seed" });
  expect([value("seed"), value("prompt")]).toEqual(["42", "A boat"]);
  emit("studio:use-parameters", { values: { ...values, seed: 43 }, part: "remix" });
  expect([value("seed"), value("prompt"), value("width")]).toEqual(["42", "A lake", "256"]);
  expect(form().querySelector<HTMLInputElement>('[value="b"]')?.checked).toBe(true);
  expect(value("num_images_per_prompt")).toBe("4"); // how many is the person's choice, not the picture's
});

test("a failed job is tried again with its own recipe", async () => {
  await form().send();
  (form().querySelector('[name="prompt"]') as HTMLTextAreaElement).value = "Something else";
  emit("studio:use-job", { job: "job_new", submit: true });
  await settle();
  expect(new URLSearchParams(log.at(-1)?.body).get("prompt")).toBe("A boat");
});

test("the draft of this tab comes back after a reload", () => {
  saveDraft("w", { prompt: "Half a thought", seed: "9" });
  mount(roomHtml("", FORM));
  expect([value("prompt"), value("seed")]).toEqual(["Half a thought", "9"]);
});

test("the second press of a double click is ignored", () => {
  const button = document.getElementById("generate") as HTMLElement;
  const second = new MouseEvent("click", { bubbles: true, cancelable: true, detail: 2 });
  button.dispatchEvent(second);
  expect(second.defaultPrevented).toBe(true);
});

test("the form says into which project it makes, and sends it; a draft does not keep it", async () => {
  mount(roomHtml("", FORM.replace('<div data-part="problems">', '<input type="hidden" name="project"><p data-part="into" hidden><b data-part="into-name"></b></p><div data-part="problems">')
    + '<select id="gallery-project"><option value="">All</option><option value="prj_1">Spring</option></select>'));
  const into = document.querySelector('[data-part="into"]') as HTMLElement;
  expect(into.hidden).toBe(true);
  (document.getElementById("gallery-project") as HTMLSelectElement).value = "prj_1";
  emit("studio:project", { id: "prj_1", name: "Spring" });
  expect([into.hidden, text("into-name")]).toEqual([false, "Spring"]);
  await form().send();
  const sent = log.filter((asked) => asked.method === "POST").at(-1);
  expect(new URLSearchParams(sent?.body).get("project")).toBe("prj_1");
  expect(recallRecipe("w", "job_new")).not.toHaveProperty("project");
});

test("a recipe without a mask takes the mask out of the form; a preset leaves it", () => {
  mount(roomHtml("", FORM.replace('<div data-part="problems">', '<input type="hidden" name="mask" value="beef"><input name="outpaint_left" value="0"><div data-part="problems">')));
  emit("studio:use-parameters", { values: { guidance_scale: 4 }, part: "all" });
  expect(value("mask")).toBe("beef");
  emit("studio:use-parameters", { values: { prompt: "A lake", seed: 1, image: null }, part: "seed" });
  expect(value("mask")).toBe("beef");
  emit("studio:use-parameters", { values: { prompt: "A lake", image: "cafe", outpaint_left: 16 }, part: "all" });
  expect([value("mask"), value("outpaint_left")]).toEqual(["", "16"]);
});
