import { afterEach, beforeEach, expect, test, vi } from "vitest";

import "./live-board";
import { takeOver } from "./live-board";
import { parseFragment } from "../lib/dom";
import { mount, playServer } from "../test/pages";

const row = (key: string, state: string, token = "a"): string =>
  `<li data-key="${key}" data-condition="${state}"><p data-live="state">${state}</p>
   <div data-live="actions"><form><input type="hidden" name="csrfmiddlewaretoken" value="${token}"><button>Act on ${key}</button></form></div></li>`;
const board = (rows: string, count = "1"): string =>
  `<p data-part="said">As of now</p><p data-live="count">${count}</p><ul data-list="agents">${rows}</ul>`;

function keys(): string[] {
  return [...document.querySelectorAll<HTMLElement>("[data-key]")].map((each) => each.dataset.key ?? "");
}

function take(rows: string, count = "1"): void {
  takeOver(document.querySelector("#board") as HTMLElement, parseFragment(board(rows, count)));
}

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

test("parts that differ are taken over; rows come, go and change places", () => {
  mount(`<div id="board">${board(row("a", "idle") + row("b", "idle"))}</div>`);
  const kept = document.querySelector('[data-key="b"]');
  take(row("c", "new") + row("b", "working"), "2");
  expect(keys()).toEqual(["c", "b"]);
  expect(document.querySelector('[data-key="b"]')).toBe(kept);
  expect((kept as HTMLElement).dataset.condition).toBe("working");
  expect(kept?.querySelector('[data-live="state"]')?.textContent).toBe("working");
  expect(document.querySelector('[data-live="count"]')?.textContent).toBe("2");
});

test("a part that holds the focus or an open menu stays; the next time it is taken over", () => {
  mount(`<div id="board">${board(row("a", "idle"))}</div>`);
  const button = document.querySelector("button") as HTMLButtonElement;
  button.focus();
  take(row("a", "draining").replace("Act on", "Now act on"));
  expect(document.activeElement).toBe(button);
  expect(document.querySelector('[data-live="state"]')?.textContent).toBe("draining");
  button.blur();
  take(row("a", "draining").replace("Act on", "Now act on"));
  expect(document.querySelector("button")?.textContent).toBe("Now act on a");

  const actions = document.querySelector('[data-live="actions"]') as HTMLElement;
  actions.innerHTML = "<details open><summary>More</summary></details>";
  take(row("a", "gone"));
  expect(actions.querySelector("details")).not.toBeNull();
});

test("another form token alone changes nothing", () => {
  mount(`<div id="board">${board(row("a", "idle"))}</div>`);
  take(row("a", "idle", "b"));
  const button = document.querySelector("button");
  take(row("a", "idle", "c"));
  expect(document.querySelector("button")).toBe(button);
});

test("it asks every two seconds, says when it is not live, and is again", async () => {
  let isAway = false;
  const log = playServer(() => (isAway ? "offline" : { body: board(row("a", "working")) }));
  mount(`<live-board data-url="/live" data-seconds="2">${board(row("a", "idle"))}</live-board>`);
  await vi.advanceTimersByTimeAsync(2_000);
  expect(log).toHaveLength(1);
  expect(document.querySelector('[data-live="state"]')?.textContent).toBe("working");
  isAway = true;
  await vi.advanceTimersByTimeAsync(2_000);
  expect(document.querySelector("[data-stale] [data-part=said]")?.textContent).toBe("Not live any more. As of now");
  isAway = false;
  await vi.advanceTimersByTimeAsync(4_000);
  expect(document.querySelector("[data-stale]")).toBeNull();
  expect(document.querySelector("[data-part=said]")?.textContent).toBe("As of now");
});

test("it stops where it may not look any more", async () => {
  const log = playServer(() => ({ status: 403 }));
  mount(`<live-board data-url="/live" data-seconds="2">${board("")}</live-board>`);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(log).toHaveLength(1);
});
