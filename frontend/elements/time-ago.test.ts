import { expect, test } from "vitest";

import "./time-ago";
import { timeAgo } from "./time-ago";
import { mount } from "../test/pages";

test.each([
  [5, "just now"],
  [65, "1 minute ago"],
  [7_300, "2 hours ago"],
  [90_000, "yesterday"],
])("%i seconds: %s", (seconds, words) => {
  expect(timeAgo(seconds)).toBe(words);
});

test("a time that cannot be read stays as the server wrote it", () => {
  mount('<time-ago datetime="soon">soon</time-ago>');
  expect(document.querySelector("time-ago")?.textContent).toBe("soon");
});
