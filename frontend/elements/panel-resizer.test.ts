import { expect, test } from "vitest";

import "./panel-resizer";
import { mount, press } from "../test/pages";

const HTML = '<studio-room><panel-resizer data-for="shelf" aria-valuemin="240" aria-valuemax="340" aria-valuenow="320"></panel-resizer></studio-room>';

test("arrow keys change the width within limits, and it is remembered", () => {
  mount(HTML);
  const edge = document.querySelector("panel-resizer") as HTMLElement;
  const width = (): string | undefined => document.querySelector<HTMLElement>("studio-room")?.style.getPropertyValue("--shelf-width");
  press("ArrowLeft", edge);
  expect(width()).toBe("336px");
  press("ArrowLeft", edge);
  expect(width()).toBe("340px");
  mount(HTML);
  expect(width()).toBe("340px");
  document.querySelector("panel-resizer")?.dispatchEvent(new Event("dblclick"));
  expect(width()).toBe("320px");
});
