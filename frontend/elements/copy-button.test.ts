import { expect, test, vi } from "vitest";

import "./copy-button";
import { mount, settle } from "../test/pages";

test("copies the text beside it, not that of another section", async () => {
  const writeText = vi.fn(() => Promise.resolve());
  vi.stubGlobal("navigator", { clipboard: { writeText } });
  mount(`<p id="live"></p><section><p data-copy>other</p></section>
    <section><div><copy-button><button></button></copy-button></div><p data-copy>mine</p></section>`);
  document.querySelector("button")?.click();
  await settle();
  expect(writeText).toHaveBeenCalledWith("mine");
  expect(document.getElementById("live")?.textContent).toBe("Copied.");
});

test("where copying is not allowed, the text is selected and the person told", async () => {
  vi.stubGlobal("navigator", {});
  mount('<p id="live"></p><section><copy-button><button></button></copy-button><p data-copy>mine</p></section>');
  document.querySelector("button")?.click();
  await settle();
  expect(document.getElementById("live")?.textContent).toContain("selected");
});
