import { afterEach, expect, test, vi } from "vitest";

import "./model-upload";
import { mount } from "../test/pages";

afterEach(() => vi.unstubAllGlobals());

function choose(...files: File[]): HTMLFormElement {
  mount(`<model-upload data-url="/uploads"><form><input type="file" multiple data-field="file"><input name="name" data-field="name">
    <p data-part="error" hidden></p><div data-part="progress" hidden><progress></progress><p data-part="says"></p></div>
    <button data-part="go"></button><button type="button" data-part="pause" hidden></button></form></model-upload>`);
  const input = document.querySelector<HTMLInputElement>('[type="file"]');
  const form = document.querySelector("form");
  if (!input || !form) throw new Error("no form");
  Object.defineProperty(input, "files", { value: files });
  input.dispatchEvent(new Event("change", { bubbles: true }));
  return form;
}

test("JSON files beside the weights are sent as text, the weights as the file", async () => {
  const problem = { errors: [{ field: "name", message: "Taken." }] };
  const headers = { "Content-Type": "application/problem+json" };
  const fetched = vi.fn().mockResolvedValue(new Response(JSON.stringify(problem), { status: 422, headers }));
  vi.stubGlobal("fetch", fetched);
  const form = choose(
    new File(["{1}"], "config.json"),
    new File(["weights"], "model.safetensors"),
    new File(["{2}"], "preprocessor_config.json"),
    new File(["{3}"], "other.json"),
  );
  expect(form.querySelector<HTMLInputElement>('[name="name"]')?.value).toBe("model");
  form.requestSubmit();
  await vi.waitFor(() => expect(fetched).toHaveBeenCalled());
  const [, request] = fetched.mock.calls[0] as [string, { body: URLSearchParams }];
  const sent = Object.fromEntries(request.body);
  expect(sent).toMatchObject({ file_name: "model.safetensors", size_bytes: "7", config: "{1}", preprocessor: "{2}" });
  expect(Object.values(sent)).not.toContain("{3}");
});
