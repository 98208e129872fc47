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
  Object.defineProperty(input, "files", { value: files, configurable: true });
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

test("a refused file is not sent again when it is chosen again with what was missing", async () => {
  const refused = { id: "1", state: "failed", size_bytes: 7, received_bytes: 7, piece_bytes: 8, problem: { code: "incomplete", field: "file", message: "Choose its config.json." } };
  const urls = { state_url: "/1", content_url: "/1/content", retry_url: "/1/retry", model_url: "" };
  const headers = { "Content-Type": "application/json" };
  const fetched = vi.fn(() => Promise.resolve(new Response(JSON.stringify({ ...refused, ...urls }), { status: 201, headers })));
  vi.stubGlobal("fetch", fetched);
  const facts = { lastModified: 5 };
  const form = choose(new File(["weights"], "model.safetensors", facts));
  form.requestSubmit();
  const said = () => document.querySelector('[data-part="error"]')?.textContent ?? "";
  await vi.waitFor(() => expect(said()).toContain("Choose its config.json."));
  const input = form.querySelector<HTMLInputElement>('[type="file"]');
  const again = [new File(["weights"], "model.safetensors", facts), new File(["{1}"], "config.json")];
  Object.defineProperty(input, "files", { value: again, configurable: true });
  await vi.waitFor(() => expect(form.querySelector<HTMLButtonElement>('[data-part="go"]')?.disabled).toBe(false));
  form.requestSubmit();
  await vi.waitFor(() => expect(fetched).toHaveBeenCalledTimes(2));
  const [url, request] = fetched.mock.calls[1] as unknown as [string, { body: URLSearchParams }];
  expect(url).toBe("/1/retry");
  expect(request.body.get("config")).toBe("{1}");
});
