import { afterEach, expect, test } from "vitest";

import { mount, playServer, record, roomHtml, settle } from "../test/pages";
import { emit } from "./dom";
import { isViewerOpen, startViewerHost } from "./viewer-host";

let stop = (): void => undefined;
afterEach(() => stop());

test("opens a picture under its address, and gives the focus back when it closes", async () => {
  mount(roomHtml('<a id="opener" href="#">picture</a>'));
  const room = location.pathname;
  stop = startViewerHost();
  playServer(() => ({ body: "<p>the picture</p>" }));
  const opener = document.getElementById("opener") as HTMLElement;
  emit("studio:open-picture", { url: "/w/w/outputs/out_1", from: opener });
  await settle();
  expect(isViewerOpen()).toBe(true);
  expect(location.pathname).toBe("/w/w/outputs/out_1");
  (document.getElementById("viewer") as HTMLElement).tabIndex = -1;
  document.getElementById("viewer")?.focus();
  emit("studio:close-viewer", {});
  expect(isViewerOpen()).toBe(false);
  expect(location.pathname).toBe(room);
  expect(document.activeElement).toBe(opener);
});

test("the last picture asked for is the one shown", async () => {
  mount(roomHtml(""));
  stop = startViewerHost();
  playServer(async ({ url }) => {
    await settle(url.includes("slow") ? 20 : 1);
    return { body: `<p>${url}</p>` };
  });
  emit("studio:open-picture", { url: "/slow" });
  emit("studio:open-picture", { url: "/quick" });
  await settle(40);
  expect(document.getElementById("viewer")?.textContent).toBe("/quick");
});

test("a picture that cannot be had is told, and the stage stays", async () => {
  mount(roomHtml(""));
  stop = startViewerHost();
  playServer(() => ({ status: 404 }));
  const toasts = record<{ text: string }>("studio:toast");
  emit("studio:open-picture", { url: "/gone" });
  await settle();
  expect(isViewerOpen()).toBe(false);
  expect(toasts[0]?.text).toBe("That is no longer there.");
});
