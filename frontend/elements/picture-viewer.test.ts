import { afterEach, beforeEach, expect, test } from "vitest";

import "./picture-viewer";
import { handleKey } from "../lib/keys";
import { mount, playServer, press, record, roomHtml, settle, tileHtml } from "../test/pages";

const heard = (event: KeyboardEvent): void => void handleKey(event);
let log: ReturnType<typeof playServer>;
const HTML = `<picture-viewer data-output="out_1" data-width="64" data-height="32" data-parameters="/p" data-rerun="/rerun" data-trash="/trash" data-restore="/restore">
  <button data-action="zoom"></button><button data-action="info"></button><button data-surround="black"></button>
  <div data-part="mat" tabindex="0"><img class="viewer__picture"></div><a data-action="next" href="/w/w/outputs/out_2"></a>
  <button data-action="rerun"></button><p data-part="error"></p></picture-viewer>`;

beforeEach(() => {
  document.addEventListener("keydown", heard);
  log = playServer(({ url }) => {
    if (url === "/p") return { body: '{"seed":7,"prompt":"boat"}', type: "application/json" };
    return { status: url === "/rerun" ? 201 : 200, body: url === "/rerun" ? tileHtml({ job: "job_again" }) : "" };
  });
  mount(roomHtml(""));
  const host = document.getElementById("viewer") as HTMLElement;
  host.hidden = false;
  host.innerHTML = HTML;
});
afterEach(() => {
  document.removeEventListener("keydown", heard);
  document.body.replaceChildren();
});

const viewer = (): HTMLElement => document.querySelector("picture-viewer") as HTMLElement;

test("keys: zoom, details, surround, next, close", () => {
  const opened = record<{ url: string }>("studio:open-picture");
  const closed = record("studio:close-viewer");
  press("z");
  expect(viewer().hasAttribute("data-actual")).toBe(true);
  press("i");
  expect(viewer().dataset.info).toBe("0");
  press("b");
  expect(viewer().dataset.surround).toBe("black");
  press("ArrowRight");
  expect(opened[0]?.url).toContain("/w/w/outputs/out_2");
  press("Escape");
  expect(closed).toHaveLength(1);
});

test("enlarged, the focused picture keeps the arrow keys for itself", () => {
  const opened = record("studio:open-picture");
  press("z");
  document.querySelector<HTMLElement>('[data-part="mat"]')?.focus();
  press("ArrowRight");
  expect(opened).toEqual([]);
});

test("parameters are offered to the form, whole or in part", async () => {
  const used = record<{ part: string; values: unknown }>("studio:use-parameters");
  press("s");
  await settle();
  expect(used).toEqual([{ part: "seed", values: { seed: 7, prompt: "boat" } }]);
});

test("run again puts the new job in the gallery and on the stage", async () => {
  const submitted = record("studio:submitted");
  document.querySelector<HTMLElement>('[data-action="rerun"]')?.click();
  await settle();
  expect(submitted).toEqual([{ job: "job_again", rerun: true }]);
  expect(document.querySelector<HTMLElement>("#gallery job-tile")?.dataset.job).toBe("job_again");
});

test("upscaling puts the new job in the gallery; a refusal is told", async () => {
  const host = document.getElementById("viewer") as HTMLElement;
  host.innerHTML = HTML.replace("<p data-part", '<button data-action="upscale" data-scale="4"></button><p data-part').replace(
    'data-rerun="/rerun"',
    'data-rerun="/rerun" data-upscale="/upscale"',
  );
  const press = async (): Promise<void> => {
    host.querySelector<HTMLElement>('[data-action="upscale"]')?.click();
    await settle();
  };
  const submitted = record("studio:submitted");
  log = playServer(() => ({ status: 201, body: tileHtml({ job: "job_large" }) }));
  await press();
  expect(log.at(-1)).toMatchObject({ url: "/upscale", method: "POST" });
  expect(String(log.at(-1)?.body)).toBe("scale=4");
  expect(submitted).toEqual([{ job: "job_large", rerun: false }]);
  expect(document.querySelector<HTMLElement>("#gallery job-tile")?.dataset.job).toBe("job_large");
  host.querySelector("picture-viewer")?.insertAdjacentHTML("beforeend", '<select data-part="upscaler"><option value="small">S</option></select>');
  await press();
  expect(String(log.at(-1)?.body)).toBe("scale=4&model=small");
  playServer(() => ({ status: 422, body: '<p data-error-message>It would be too large.</p>' }));
  await press();
  expect(submitted).toHaveLength(2);
  expect(document.querySelector('[data-part="error"]')?.textContent).toBe("It would be too large.");
});

test("drawing it larger says how much anew, and what leads it", async () => {
  const host = document.getElementById("viewer") as HTMLElement;
  host.innerHTML = HTML.replace(
    "<p data-part",
    '<button data-action="redraw" data-scale="2" data-refine="0.5" data-control="abc"></button><p data-part',
  ).replace('data-rerun="/rerun"', 'data-rerun="/rerun" data-upscale="/upscale"');
  log = playServer(() => ({ status: 201, body: tileHtml({ job: "job_large" }) }));
  host.querySelector<HTMLElement>('[data-action="redraw"]')?.click();
  await settle();
  expect(String(log.at(-1)?.body)).toBe("scale=2&refine=0.5&control=abc");
});

test("removing the background puts the new job in the gallery", async () => {
  const host = document.getElementById("viewer") as HTMLElement;
  host.innerHTML = HTML.replace("<p data-part", '<button data-action="cutout"></button><button data-action="cutout" data-result="mask"></button><p data-part').replace(
    'data-rerun="/rerun"',
    'data-rerun="/rerun" data-cutout="/cutout"',
  );
  const submitted = record("studio:submitted");
  log = playServer(() => ({ status: 201, body: tileHtml({ job: "job_cut" }) }));
  for (const [at, result] of ["picture", "mask"].entries()) {
    host.querySelectorAll<HTMLElement>('[data-action="cutout"]')[at]?.click();
    await settle();
    expect(log.at(-1)).toMatchObject({ url: "/cutout", method: "POST" });
    expect(String(log.at(-1)?.body)).toBe(`cutout_result=${result}`);
  }
  expect(submitted[0]).toEqual({ job: "job_cut", rerun: false });
});

test("the checkered ground ends where a see-through picture ends", () => {
  const host = document.getElementById("viewer") as HTMLElement;
  host.innerHTML = HTML.replace('class="viewer__picture">', 'class="viewer__picture" data-see-through><span data-part="zoom"></span>');
  const viewer = host.querySelector<HTMLElement>("picture-viewer") as HTMLElement;
  const picture = viewer.querySelector<HTMLElement>(".viewer__picture") as HTMLElement;
  Object.assign(viewer.dataset, { width: "100", height: "50" });
  Object.defineProperties(picture, { clientWidth: { value: 400 }, clientHeight: { value: 400 } });
  viewer.querySelector<HTMLElement>('[data-action="zoom"]')?.click();
  expect(picture.style.padding).toBe("");
  viewer.querySelector<HTMLElement>('[data-action="zoom"]')?.click();
  expect(picture.style.padding).toBe("100px 0px");
});

test("a refused run is told beside the button", async () => {
  playServer(() => ({ status: 409, body: '<p data-error-message>The model is gone.</p>' }));
  document.querySelector<HTMLElement>('[data-action="rerun"]')?.click();
  await settle();
  expect(document.querySelector('[data-part="error"]')?.textContent).toBe("The model is gone.");
});

test("a viewer closed while the picture goes to the trash stays closed", async () => {
  const opened = record("studio:open-picture");
  press("Delete");
  viewer().remove(); // Escape, before the server has answered
  await settle();
  expect(log.map((asked) => asked.url)).toEqual(["/trash"]);
  expect(opened).toEqual([]);
});

test("delete goes to the trash and on to the next picture", async () => {
  const opened = record<{ url: string }>("studio:open-picture");
  press("Delete");
  await settle();
  expect(log.map((asked) => asked.url)).toEqual(["/trash"]);
  expect(opened).toHaveLength(1);
  expect(opened[0]?.url).toContain("out_2");
});

test("keys are free again when the picture is closed", () => {
  viewer().remove();
  expect(press("z").defaultPrevented).toBe(false);
});

test("a picture is put into a project; what is refused is taken back", async () => {
  const host = document.getElementById("viewer") as HTMLElement;
  host.innerHTML = HTML.replace('data-trash="/trash"', 'data-trash="/trash" data-place="/place"').replace(
    "<p data-part", '<select data-part="project"><option value="">None</option><option value="prj_1">Spring</option></select><p data-part',
  );
  const placed = record<{ output: string; project: string }>("studio:output-placed");
  const select = host.querySelector("select") as HTMLSelectElement;
  const choose = async (value: string): Promise<void> => {
    select.value = value;
    select.dispatchEvent(new Event("change", { bubbles: true }));
    await settle();
  };
  await choose("prj_1");
  expect(log.at(-1)).toMatchObject({ url: "/place", method: "POST", body: "project=prj_1" });
  expect(placed).toEqual([{ output: "out_1", project: "prj_1" }]);
  playServer(() => ({ status: 404 }));
  await choose("");
  expect(select.value).toBe("prj_1");
  expect(host.querySelector('[data-part="error"]')?.textContent).toContain("no longer there");
});

test("it becomes the starting picture of the recipe; what is refused is told", async () => {
  const host = document.getElementById("viewer") as HTMLElement;
  host.innerHTML = HTML.replace("<p data-part", '<button data-action="start"></button><p data-part').replace(
    'data-rerun="/rerun"',
    'data-rerun="/rerun" data-start="/start"',
  );
  const started = record<{ picture: { sha256: string } }>("studio:start-picture");
  const start = async (): Promise<void> => {
    host.querySelector<HTMLElement>('[data-action="start"]')?.click();
    await settle();
  };
  const body = JSON.stringify({ id: "art_1", sha256: "cafe", width: 64, height: 32, url: "/media/art_1", mask: null });
  log = playServer(() => ({ status: 201, body, type: "application/json" }));
  await start();
  expect(log.at(-1)).toMatchObject({ url: "/start", method: "POST" });
  expect(started[0]?.picture.sha256).toBe("cafe");
  playServer(() => ({ status: 404 }));
  await start();
  expect(started).toHaveLength(1);
  expect(host.querySelector('[data-part="error"]')?.textContent).toContain("no longer there");
});
