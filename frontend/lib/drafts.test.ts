import { expect, test } from "vitest";

import { formValues, loadDraft, recallRecipe, rememberRecipe, saveDraft } from "./drafts";
import { mount } from "../test/pages";

test("a draft is the form without what belongs to one request", () => {
  mount(`<form><input name="csrfmiddlewaretoken" value="t"><textarea name="prompt">boat</textarea>
    <input type="radio" name="model" value="a"><input type="radio" name="model" value="b" checked></form>`);
  const values = formValues(document.querySelector("form") as HTMLFormElement);
  expect(values).toEqual({ prompt: "boat", model: "b" });
  saveDraft("w", values);
  expect(loadDraft("w")).toEqual(values);
  expect(loadDraft("other")).toBeNull();
});

test("the recipes of the latest jobs are kept", () => {
  for (let number = 0; number < 45; number += 1) rememberRecipe("w", `job_${number}`, { prompt: String(number) });
  expect(recallRecipe("w", "job_44")).toEqual({ prompt: "44" });
  expect(recallRecipe("w", "job_1")).toBeNull();
});
