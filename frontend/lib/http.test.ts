import { expect, test } from "vitest";

import { mount, playServer } from "../test/pages";
import { ask } from "./http";

test("a post carries the token and asks for a fragment", async () => {
  mount('<meta name="csrf-token" content="abc">');
  const log = playServer(() => ({ body: "ok" }));
  expect(await ask("/x", { method: "POST" })).toMatchObject({ kind: "ok", text: "ok" });
  expect(log[0]?.headers).toMatchObject({ "X-CSRFToken": "abc", "HX-Request": "true" });
});

test("field problems are read from a fragment and from problem details alike", async () => {
  playServer(() => ({
    status: 422,
    body: '<div data-form-errors><ul><li data-field="prompt">It is &lt;empty&gt;.</li></ul></div>',
  }));
  expect(await ask("/x")).toEqual({ kind: "problems", problems: [{ field: "prompt", message: "It is <empty>." }] });
  playServer(() => ({
    status: 422,
    type: "application/problem+json",
    body: '{"detail":"No","errors":[{"field":"image","message":"Broken."}]}',
  }));
  expect(await ask("/x")).toEqual({ kind: "problems", problems: [{ field: "image", message: "Broken." }] });
});

test.each([
  [429, { "retry-after": "7" }, "", "Try again in 7 seconds"],
  [500, {}, "", "Nothing is lost"],
  [403, {}, "", "You may look at this workspace"],
  [409, {}, '<p data-error-message>It has ended.</p>', "It has ended."],
])("%i becomes a sentence", async (status, headers, body, sentence) => {
  playServer(() => ({ status, body, headers }));
  const answer = await ask("/x", { method: "POST" });
  expect(answer.kind === "failed" && answer.message).toContain(sentence);
  expect(answer.kind === "failed" && answer.unsure).toBe(status >= 500);
});

test("without a line nothing is thrown, and a post may have arrived", async () => {
  playServer(() => "offline");
  expect(await ask("/x", { method: "POST" })).toMatchObject({ kind: "failed", status: 0, unsure: true });
  expect(await ask("/x")).toMatchObject({ kind: "failed", unsure: false });
});
