import { beforeEach, expect, test, vi } from "vitest";

vi.mock("htmx.org", () => ({ default: { process: vi.fn() } })); // needs more of a browser than tests have

import "./gallery-panel";
import { emit } from "../lib/dom";
import { mount, playServer, press, record, roomHtml, settle, tileHtml } from "../test/pages";

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

const FILTERS = `<select id="gallery-project" data-part="project"><option value="">All pictures</option><option value="prj_1">Spring</option></select>
  <a data-part="share" href="/w/w/shares/new">Share</a><input type="search" data-part="search">`;
const tiles = (html: string, attributes: string): string => html.replace("<job-tile ", `<job-tile ${attributes} `);

/** The gallery again, with its chooser and its search box. */
function mountFiltered(): void {
  localStorage.clear();
  mount(roomHtml("").replace(
    '<div id="gallery" data-trash="0"></div>',
    `<gallery-panel data-url="/gallery" data-trash-url="/gallery?trash=1">${FILTERS}<span data-part="total"></span>
     <div id="gallery" data-trash="0">${tileHtml({ job: "a", status: "succeeded" })}${FACTS(1, 0)}</div><p data-part="empty"></p></gallery-panel>`,
  ));
}

function choose(value: string): void {
  const select = document.querySelector('[data-part="project"]') as HTMLSelectElement;
  select.value = value;
  select.dispatchEvent(new Event("change", { bubbles: true }));
}

test("a chosen project is told to the page, remembered by its id, and filters what messages bring", async () => {
  mountFiltered();
  const heard = record<{ id: string; name: string }>("studio:project");
  const log = playServer(() => ({ body: tiles(tileHtml({ job: "in", status: "succeeded" }), 'data-project="prj_1"') + FACTS(1, 0) }));
  choose("prj_1");
  await settle();
  expect(heard).toEqual([{ id: "prj_1", name: "Spring" }]);
  expect(new URLSearchParams(log[0]?.body).get("project")).toBe("prj_1");
  expect(visible()).toEqual(["in"]);
  expect(JSON.stringify({ ...localStorage })).not.toContain("Spring");
  expect((document.querySelector('[data-part="share"]') as HTMLAnchorElement).search).toBe("?project=prj_1");
  document.getElementById("gallery")?.insertAdjacentHTML("afterbegin", tileHtml({ job: "other" }) + tiles(tileHtml({ job: "new" }), 'data-project="prj_1"'));
  await settle();
  expect(visible()).toEqual(["new", "in"]);
  choose("");
  await settle();
  expect(log.at(-1)).toMatchObject({ method: "GET", url: "/gallery" });
});

test("a search is posted, never put into an address, and keeps to what was found", async () => {
  mountFiltered();
  const log = playServer(() => ({ body: tiles(tileHtml({ job: "found", status: "succeeded" }), "data-found") + FACTS(1, 0) }));
  const search = document.querySelector('[data-part="search"]') as HTMLInputElement;
  search.value = "secret words";
  press("Enter", search);
  await settle();
  expect(log[0]).toMatchObject({ method: "POST", url: "/gallery" });
  expect(new URLSearchParams(log[0]?.body).get("q")).toBe("secret words");
  document.getElementById("gallery")?.insertAdjacentHTML("afterbegin", tileHtml({ job: "stranger" }));
  await settle();
  expect(visible()).toEqual(["found"]);
  expect(document.getElementById("live")?.textContent).toBe("1 picture found.");
});

test("a picture that was put elsewhere leaves the project that is shown", async () => {
  mountFiltered();
  let body = tiles(tileHtml({ job: "in", status: "succeeded" }), 'data-project="prj_1"');
  playServer(() => ({ body }));
  choose("prj_1");
  await settle();
  body = "";
  emit("studio:output-placed", { output: "out_in_0", project: "" });
  await settle();
  expect(visible()).toEqual([]);
  expect(text("empty")).toBe("Nothing is in this project yet.");
});
