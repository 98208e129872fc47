import { expect, test, vi } from "vitest";

import "./here-link";
import { mount } from "../test/pages";

test("the page's own link is scrolled into sight, and only that one", () => {
  const seen: string[] = [];
  vi.spyOn(Element.prototype, "scrollIntoView").mockImplementation(function scroll(this: Element) {
    seen.push(this.id);
  });
  mount('<here-link><a id="one"></a><a id="two" aria-current="page"></a></here-link>');
  expect(seen).toEqual(["two"]);
});
