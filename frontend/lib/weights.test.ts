import { expect, test } from "vitest";

import { changeWeight } from "./weights";

test.each<[string, string, number, number, 1 | -1, string]>([
  ["a selection is weighed", "a red boat", 2, 5, 1, "a (red:1.1) boat"],
  ["the word under the caret is weighed", "a red boat", 3, 3, -1, "a (red:0.9) boat"],
  ["a weight goes on", "a (red:1.1) boat", 3, 6, 1, "a (red:1.2) boat"],
  ["a weight of one needs no brackets", "a (red:1.1) boat", 3, 6, -1, "a red boat"],
  ["the whole group can be selected", "a (red sea:1.3) boat", 2, 15, 1, "a (red sea:1.4) boat"],
  ["spaces at the edges stay outside", "a red boat", 1, 6, 1, "a (red:1.1) boat"],
  ["there is a most", "(red:2.0)", 1, 4, 1, "(red:2.0)"],
  ["nothing selected, nothing changed", "a  boat", 2, 2, 1, "a  boat"],
])("%s", (_, text, start, end, direction, expected) => {
  const edit = changeWeight(text, start, end, direction);
  expect(edit.text).toBe(expected);
  expect(edit.end).toBeLessThanOrEqual(expected.length);
});

test("pressing again and again walks on", () => {
  let edit = changeWeight("a red boat", 2, 5, 1);
  edit = changeWeight(edit.text, edit.start, edit.end, 1);
  edit = changeWeight(edit.text, edit.start, edit.end, -1);
  expect(edit.text).toBe("a (red:1.1) boat");
  edit = changeWeight(edit.text, edit.start, edit.end, -1);
  expect(edit.text).toBe("a red boat");
  expect(edit.text.slice(edit.start, edit.end)).toBe("red");
});
