import { beforeEach, expect, test } from "vitest";

import "./upscale-row";
import { mount, playServer, record, roomHtml, settle, tileHtml } from "../test/pages";

beforeEach(() => {
  mount(
    roomHtml(`<form><input type="hidden" name="image" value="cafe"><input type="hidden" name="project" value="prj_1">
    <input type="radio" name="tier" value="fast"><input type="radio" name="tier" value="relax" checked><input name="width" value="64">
    <upscale-row data-url="/jobs"><button type="button" data-scale="2"></button><p data-part="error" hidden></p></upscale-row></form>`),
  );
});

const press = (): void => document.querySelector<HTMLElement>('[data-scale="2"]')?.click();

test("it asks for the picture, the scale, the project and how soon, once", async () => {
  const submitted = record("studio:submitted");
  const log = playServer(() => ({ status: 201, body: tileHtml({ job: "job_large" }) }));
  press();
  press();
  await settle();
  expect(log).toHaveLength(1);
  const body = new URLSearchParams(log[0]?.body);
  expect(log[0]?.url).toBe("/jobs");
  expect(body.get("idempotency_key")).toBeTruthy();
  body.delete("idempotency_key");
  expect(Object.fromEntries(body)).toEqual({ image: "cafe", scale: "2", project: "prj_1", tier: "relax" });
  expect(submitted).toEqual([{ job: "job_large", rerun: false }]);
});

test("it asks for the upscaler that was chosen", async () => {
  const row = document.querySelector("upscale-row") as HTMLElement;
  row.insertAdjacentHTML("afterbegin", '<select data-part="upscaler"><option value="small">S</option><option value="large" selected>L</option></select>');
  const log = playServer(() => ({ status: 201, body: tileHtml({ job: "job_large" }) }));
  press();
  await settle();
  expect(new URLSearchParams(log[0]?.body).get("model")).toBe("large");
});

test("it asks for the objects of the picture, or for a mask of them", async () => {
  const row = document.querySelector("upscale-row") as HTMLElement;
  row.insertAdjacentHTML("afterbegin", '<button type="button" data-cutout="picture"></button><button type="button" data-cutout="mask"></button>');
  const log = playServer(() => ({ status: 201, body: tileHtml({ job: "job_cut" }) }));
  for (const result of ["picture", "mask"]) {
    row.querySelector<HTMLElement>(`[data-cutout="${result}"]`)?.click();
    await settle();
    const body = new URLSearchParams(log.at(-1)?.body);
    body.delete("idempotency_key");
    expect(Object.fromEntries(body)).toEqual({ image: "cafe", cutout: "true", cutout_result: result, project: "prj_1", tier: "relax" });
  }
  expect(log).toHaveLength(2);
});

test("a refusal is told at the buttons", async () => {
  playServer(() => ({ status: 422, type: "application/problem+json", body: '{"errors":[{"field":"scale","message":"It would be too large."}]}' }));
  press();
  await settle();
  expect(document.querySelector('[data-part="error"]')).toMatchObject({ hidden: false, textContent: "It would be too large." });
});
