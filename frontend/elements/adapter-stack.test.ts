import { afterEach, beforeEach, expect, test } from "vitest";

import "./adapter-stack";
import "./range-field";
import "./recipe-form";
import { emit } from "../lib/dom";
import { mount, roomHtml } from "../test/pages";

const FORM = `<recipe-form><form action="/w/w/jobs">
  <textarea name="prompt">A boat </textarea>
  <input type="radio" name="model" value="m1" checked><input type="radio" name="model" value="m2">
  <adapter-stack data-field="loras" data-maximum="2" hidden>
    <input type="hidden" name="loras" value=""><ul data-part="list"></ul>
    <select data-part="add"><option value="">Add…</option>
      <option value="aa" data-models="m1 m2" data-words="neon sign&#10;tubes&#10;">Neon</option>
      <option value="bb" data-models="m1" data-words="" data-recipe='{"num_inference_steps":4,"sampler":"lcm"}' data-summary="4 steps, LCM">Fast</option>
      <option value="cc" data-models="m2" data-words="">Other</option>
    </select>
    <div data-part="words" hidden><button type="button" class="adapters__word" data-word="&lt;teal&gt;" data-models="m1">&lt;teal&gt;</button></div>
    <template data-part="row"><span class="adapters__name"></span><button type="button" data-remove=" "><span class="visually-hidden"></span></button>
      <p class="adapters__note" hidden></p><div class="adapters__triggers"></div><button type="button" data-settings hidden>Use its settings</button>
      <range-field><input type="number" step="0.05"><input type="range" step="0.05"></range-field></template>
  </adapter-stack>
  <div data-part="problems"></div><button id="generate" type="submit"></button>
</form></recipe-form>`;

beforeEach(() => mount(roomHtml("", FORM)));
afterEach(() => document.body.replaceChildren());

const find = <T extends HTMLElement>(selector: string): T => document.querySelector(selector) as T;
const sent = (): unknown => JSON.parse(find<HTMLInputElement>('[name="loras"]').value || "null");
const names = (): (string | null)[] => [...document.querySelectorAll("li .adapters__name")].map((each) => each.textContent);
const offered = (): string[] =>
  [...document.querySelectorAll<HTMLOptionElement>("option")].filter((each) => each.value && !each.hidden).map((each) => each.value);
const add = (digest: string): void => {
  find<HTMLSelectElement>("select").value = digest;
  find("select").dispatchEvent(new Event("change", { bubbles: true }));
};
const choose = (model: string): void => {
  find<HTMLInputElement>(`[value="${model}"]`).checked = true;
  find(`[value="${model}"]`).dispatchEvent(new Event("change", { bubbles: true }));
};
const weigh = (digest: string, weight: string): void => {
  const number = find<HTMLInputElement>(`[data-weight="${digest}"]`);
  number.value = weight;
  number.dispatchEvent(new Event("input", { bubbles: true }));
};

test("what fits the model is offered, and nothing is sent before something is chosen", () => {
  expect(offered()).toEqual(["aa", "bb"]);
  expect(find("adapter-stack").hidden).toBe(false);
  expect(sent()).toBeNull();
});

test("a chosen one has a line with its weight, and is offered no more", () => {
  add("aa");
  expect(names()).toEqual(["Neon"]);
  expect(offered()).toEqual(["bb"]);
  weigh("aa", "0.5");
  expect(sent()).toEqual([{ digest: "aa", weight: 0.5 }]);
  weigh("aa", "");
  expect(sent()).toEqual([{ digest: "aa", weight: 0.5 }]);
});

test("there is an end to adding", () => {
  add("aa");
  add("bb");
  expect(find<HTMLSelectElement>("select").disabled).toBe(true);
  find('[data-remove="aa"]').click();
  expect(names()).toEqual(["Fast"]);
  expect(sent()).toEqual([{ digest: "bb", weight: 1 }]);
  expect(find<HTMLSelectElement>("select").disabled).toBe(false);
});

test("the slider moves the weight that is sent", () => {
  add("aa");
  const slider = find<HTMLInputElement>('input[type="range"]');
  slider.value = "-0.5";
  slider.dispatchEvent(new Event("input", { bubbles: true }));
  expect(sent()).toEqual([{ digest: "aa", weight: -0.5 }]);
});

test("what another model does not take waits until the first is back", () => {
  add("aa");
  add("bb");
  choose("m2");
  expect(sent()).toEqual([{ digest: "aa", weight: 1 }]);
  expect(names()).toEqual(["Neon", "Fast"]);
  expect(document.querySelectorAll(".adapters__row--unfit").length).toBe(1);
  expect(find("[data-part=words]").hidden).toBe(true);
  choose("m1");
  expect(sent()).toEqual([
    { digest: "aa", weight: 1 },
    { digest: "bb", weight: 1 },
  ]);
  expect(find("[data-part=words]").hidden).toBe(false);
});

test("a trigger word goes into the prompt once", () => {
  add("aa");
  const prompt = find<HTMLTextAreaElement>("textarea");
  find('[data-word="tubes"]').click();
  find('[data-word="tubes"]').click();
  find('[data-word="<teal>"]').click();
  expect(prompt.value).toBe("A boat tubes <teal>");
});

test("the parameters of a picture bring their stack, and those without one take it away", () => {
  const loras = [
    { digest: "bb", weight: 0.25 },
    { digest: "gone", weight: 1 },
  ];
  emit("studio:use-parameters", { values: { image: null, loras } as never, part: "all" });
  expect(names()).toEqual(["Fast", "Not in the library"]);
  expect(sent()).toEqual(loras);
  emit("studio:use-parameters", { values: { image: null, prompt: "x" }, part: "all" });
  expect(names()).toEqual([]);
  expect(sent()).toBeNull();
});

test("what is no list counts as none", () => {
  emit("studio:use-parameters", { values: { loras: '{"a": 1}' }, part: "all" });
  emit("studio:use-parameters", { values: { loras: "[nonsense" }, part: "all" });
  expect(names()).toEqual([]);
});

test("a LoRA with settings of its own offers them, and the others do not", () => {
  const seen: unknown[] = [];
  const heard = (event: Event): void => void seen.push((event as CustomEvent<unknown>).detail);
  document.addEventListener("studio:use-parameters", heard);
  add("aa");
  expect(find("li [data-settings]").hidden).toBe(true);
  add("bb");
  const offer = find<HTMLButtonElement>('li [data-settings="bb"]');
  expect([offer.hidden, offer.title]).toEqual([false, "4 steps, LCM"]);
  offer.click();
  document.removeEventListener("studio:use-parameters", heard);
  expect(seen).toEqual([{ values: { num_inference_steps: 4, sampler: "lcm" }, part: "all" }]);
});
