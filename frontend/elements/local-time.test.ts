import { expect, test } from "vitest";

import "./local-time";
import "./zone-field";
import { mount } from "../test/pages";

function shown(html: string): string {
  mount(html);
  return document.querySelector("local-time")?.textContent ?? "";
}

test("a moment is shown as the reader's clock has it", () => {
  const at = new Date(2026, 10, 21, 14, 5, 9);
  expect(shown(`<local-time datetime="${at.toISOString()}">x</local-time>`)).toBe("21 Nov 2026, 14:05");
  expect(shown(`<local-time datetime="${at.toISOString()}" data-seconds>x</local-time>`)).toBe("21 Nov 2026, 14:05:09");
  expect(shown(`<local-time datetime="${at.toISOString()}" data-day>x</local-time>`)).toBe("21 Nov 2026");
  expect(shown(`<local-time datetime="${at.toISOString()}" data-time>x</local-time>`)).toBe("14:05:09");
});

test("a time that cannot be read stays as the server wrote it", () => {
  expect(shown('<local-time datetime="soon">soon</local-time>')).toBe("soon");
});

test("a form says in which zone its days are meant", () => {
  mount('<zone-field><input type="hidden" name="zone" value=""></zone-field>');
  const zone = document.querySelector<HTMLInputElement>("input[name=zone]")?.value;
  expect(zone).toBe(Intl.DateTimeFormat().resolvedOptions().timeZone);
});
