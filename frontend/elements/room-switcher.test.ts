import { beforeEach, expect, test } from "vitest";

import "./room-switcher";
import { mount, press } from "../test/pages";

const room = (name: string, more = ""): string =>
  `<li data-part="room"><a href="#${name}" id="${name}" ${more}><span data-part="name">${name}</span></a></li>`;

function page(filter = true): void {
  mount(`<room-switcher><details><summary></summary>
    ${filter ? '<input data-part="filter">' : ""}<p data-part="none" hidden></p>
    <section data-part="group" id="alpha"><ul>${room("Perfume")}${room("Cars", 'aria-current="page"')}</ul><a href="#m" id="manage"></a></section>
    <section data-part="group" id="beta"><ul>${room("Carpets")}</ul></section>
  </details></room-switcher>`);
}

const byId = (id: string): HTMLElement => document.getElementById(id) as HTMLElement;
const filter = (): HTMLInputElement => document.querySelector('[data-part="filter"]') as HTMLInputElement;

function open(): void {
  const details = document.querySelector("details") as HTMLDetailsElement;
  details.open = true;
  details.dispatchEvent(new Event("toggle"));
}

function type(text: string): void {
  filter().value = text;
  filter().dispatchEvent(new Event("input", { bubbles: true }));
}

function shown(): string[] {
  const rooms = [...document.querySelectorAll<HTMLElement>('[data-part="room"]')];
  return rooms.filter((item) => !item.closest("[hidden]")).map((item) => item.textContent ?? "");
}

beforeEach(() => page());

test("typing leaves the workspaces whose name has it, in all organizations", () => {
  open();
  type(" CAR");
  expect(shown()).toEqual(["Cars", "Carpets"]);
  type("carp");
  expect(shown()).toEqual(["Carpets"]);
  expect(byId("alpha").hidden).toBe(true);
  type("x");
  expect(shown()).toEqual([]);
  expect((document.querySelector('[data-part="none"]') as HTMLElement).hidden).toBe(false);
  type("");
  expect(shown()).toEqual(["Perfume", "Cars", "Carpets"]);
  expect((document.querySelector('[data-part="none"]') as HTMLElement).hidden).toBe(true);
});

test("Enter goes to the first that is found", () => {
  open();
  expect(document.activeElement).toBe(filter());
  let gone = "";
  document.addEventListener("click", (event) => {
    gone = (event.target as HTMLElement).closest("a")?.id ?? "";
    event.preventDefault();
  });
  type("car");
  press("Enter", filter());
  expect(gone).toBe("Cars");
});

test("arrows move through the box and the links, past what is not found, and around", () => {
  open();
  type("carp");
  press("ArrowDown", filter());
  expect(document.activeElement?.id).toBe("Carpets");
  press("ArrowDown", byId("Carpets"));
  expect(document.activeElement).toBe(filter());
  press("ArrowUp", filter());
  expect(document.activeElement?.id).toBe("Carpets");
});

test("without a box the present one is where one begins", () => {
  page(false);
  open();
  expect(document.activeElement?.id).toBe("Cars");
  const event = press("ArrowDown", byId("Cars"));
  expect(document.activeElement?.id).toBe("manage");
  expect(event.defaultPrevented).toBe(true);
});

test("closed, it leaves the keys to the page", () => {
  expect(press("ArrowDown", filter()).defaultPrevented).toBe(false);
});
