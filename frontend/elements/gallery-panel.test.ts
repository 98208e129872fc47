import { beforeEach, expect, test, vi } from "vitest";

vi.mock("htmx.org", () => ({ default: { process: vi.fn() } })); // needs more of a browser than tests have

import "./gallery-panel";
import { emit } from "../lib/dom";
import { mount, playServer, press, roomHtml, settle, tileHtml } from "../test/pages";

const FACTS = (total: number, trash: number): string => `<div data-gallery-facts data-total="${total}" data-trash="0" data-trash-total="${trash}"></div>`;
const text = (name: string): string => document.querySelector(`[data-part="${name}"]`)?.textContent ?? "";
const visible = (): (string | undefined)[] => [...document.querySelectorAll<HTMLElement>("#gallery job-tile:not([hidden])")].map((tile) => tile.dataset.job);

beforeEach(() => {
  mount(roomHtml("").replace(
    '<div id="gallery" data-trash="0"></div>',
    `<gallery-panel data-url="/gallery" data-trash-url="/gallery?trash=1"><h2 class="panel__title"></h2><span data-part="total"></span>
     <button data-action="toggle-trash"><span data-part="trash-label"></span></button><p data-part="trash-note"></p>
     <div id="gallery" data-trash="0">${["c", "b", "a"].map((job) => tileHtml({ job, status: "succeeded" })).join("")}${FACTS(3, 1)}</div><p data-part="empty"></p></gallery-panel>`,
  ));
});

test("a deleted picture leaves, the count and the focus follow, and it can come back to its place", async () => {
  document.querySelector<HTMLElement>('[data-job="b"] .tile__frame')?.focus();
  emit("studio:output-gone", { output: "out_b_0" });
  expect(visible()).toEqual(["c", "a"]);
  expect(text("trash-label")).toBe("2 in trash");
  expect(text("total")).toBe("2");
  expect(document.activeElement?.closest("job-tile")?.getAttribute("data-job")).toBe("a");
  emit("studio:output-gone", { output: "out_b_0" }); // the socket says it too
  expect(text("total")).toBe("2");
  emit("studio:output-restored", { output: "out_b_0" });
  expect(visible()).toEqual(["c", "b", "a"]);
  expect(text("trash-label")).toBe("1 in trash");
});

test("the trash opens in the same place and gives back", async () => {
  playServer(({ url }) => ({ body: url.includes("trash") ? `${tileHtml({ job: "old", status: "succeeded" })}<div data-gallery-facts data-total="1" data-trash="1"></div>` : FACTS(0, 0) }));
  document.querySelector<HTMLElement>('[data-action="toggle-trash"]')?.click();
  await settle();
  expect(visible()).toEqual(["old"]);
  expect(document.querySelector(".panel__title")?.textContent).toBe("Trash");
  emit("studio:output-restored", { output: "out_old_0" });
  expect(visible()).toEqual([]);
  await settle();
  expect(text("empty")).toBe("The trash is empty.");
  document.querySelector<HTMLElement>('[data-action="toggle-trash"]')?.click();
  await settle();
  expect(text("empty")).toBe("Pictures land here, newest first.");
});

test("a picture restored while the gallery is being fetched is not missed", async () => {
  let restored = false;
  playServer(async ({ url }) => {
    const isThere = restored;
    await settle(5);
    return { body: url.includes("trash") ? tileHtml({ job: "old", status: "succeeded" }) : isThere ? tileHtml({ job: "old", status: "succeeded" }) : "" };
  });
  const toggle = document.querySelector<HTMLElement>('[data-action="toggle-trash"]');
  toggle?.click();
  await settle(15);
  toggle?.click();
  restored = true;
  emit("studio:output-restored", { output: "out_old_0" });
  await settle(30);
  expect(visible()).toEqual(["old"]);
});

test("a finished picture is counted", () => {
  emit("studio:output-made", { output: "out_new" });
  expect(text("total")).toBe("4");
});

test("a picture that came back from elsewhere makes the gallery look again", async () => {
  const log = playServer(() => ({ body: tileHtml({ job: "new", status: "succeeded" }) }));
  emit("studio:output-restored", { output: "out_unknown" });
  await settle();
  expect(log[0]?.url).toBe("/gallery");
  expect(visible()).toEqual(["new"]);
});

test("a picture that a message brought is not shown twice by an older page", async () => {
  document.getElementById("gallery")?.append(document.importNode(document.querySelector('[data-job="a"]') as Element, true));
  await settle();
  expect(visible()).toEqual(["c", "b", "a"]);
});

test("arrow keys walk; there is one stop in the tab order", () => {
  const frame = (job: string): HTMLElement => document.querySelector(`[data-job="${job}"] .tile__frame`) as HTMLElement;
  expect(document.querySelectorAll('.tile__frame[tabindex="0"]')).toHaveLength(1);
  frame("c").focus();
  press("ArrowRight", frame("c"));
  expect(document.activeElement).toBe(frame("b"));
  press("End", frame("b"));
  expect(document.activeElement).toBe(frame("a"));
  expect(frame("a").tabIndex).toBe(0);
  expect(frame("c").tabIndex).toBe(-1);
  expect(press("ArrowRight", frame("a")).defaultPrevented).toBe(false);
});
