/** Opens one picture on the stage, under its own address, and closes it again. */

import { announce, emit, listen, parseFragment } from "./dom";
import { ask } from "./http";

let opener: HTMLElement | null = null;
let latest = 0;

function host(): HTMLElement | null {
  return document.getElementById("viewer");
}

export function isViewerOpen(): boolean {
  const viewer = host();
  return viewer !== null && !viewer.hidden && viewer.childElementCount > 0;
}

/** Wire the host of this page; only a room opens pictures in place, elsewhere links just lead on. */
export function startViewerHost(): () => void {
  if (!document.querySelector("studio-room")) return () => undefined;
  const room = location.pathname;
  const opened = ({ url, from }: { url: string; from?: HTMLElement | undefined }): void => {
    if (from) opener = from;
    void openPicture(url);
  };
  const closed = (): void => {
    if (!isViewerOpen()) return;
    close();
    if (location.pathname !== room) history.pushState({}, "", room);
  };
  const moved = (): void => {
    const url = (history.state as { picture?: string } | null)?.picture;
    if (url) void openPicture(url, { keepAddress: true });
    else close();
  };
  window.addEventListener("popstate", moved);
  const stops = [listen("studio:open-picture", opened), listen("studio:close-viewer", closed)];
  return () => {
    window.removeEventListener("popstate", moved);
    for (const stop of stops) stop();
  };
}

async function openPicture(url: string, { keepAddress = false } = {}): Promise<void> {
  const viewer = host();
  if (!viewer) return;
  latest += 1;
  const mine = latest;
  viewer.setAttribute("aria-busy", "true");
  const answer = await ask(url);
  if (mine !== latest) return; // another picture was asked for since
  viewer.removeAttribute("aria-busy");
  if (answer.kind !== "ok") {
    emit("studio:toast", { text: answer.kind === "failed" ? answer.message : "That picture cannot be shown.", bad: true });
    return;
  }
  const wasOpen = isViewerOpen();
  viewer.replaceChildren(document.importNode(parseFragment(answer.text), true));
  viewer.hidden = false;
  emit("studio:view", { view: "stage" });
  if (!keepAddress) {
    const state = { picture: url };
    if (wasOpen) history.replaceState(state, "", url);
    else history.pushState(state, "", url);
  }
  viewer.querySelector<HTMLElement>("picture-viewer")?.focus();
  if (!wasOpen) announce("Picture opened. Escape goes back to the stage.");
}

function close(): void {
  const viewer = host();
  if (!viewer || viewer.hidden) return;
  latest += 1;
  const hadFocus = viewer.contains(document.activeElement);
  viewer.hidden = true;
  viewer.replaceChildren();
  if (!hadFocus) return;
  if (opener?.isConnected) opener.focus();
  else document.getElementById("stage")?.focus();
}
