import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { record } from "../test/pages";
import { TileBoard } from "../lib/tile-board";
import { pauseBefore, StudioSocket } from "./studio-socket";

class PlayedSocket extends EventTarget {
  static all: PlayedSocket[] = [];
  binaryType = "";
  readyState = 1;
  sent: string[] = [];
  constructor(readonly url: URL) {
    super();
    PlayedSocket.all.push(this);
  }
  send(text: string): void {
    this.sent.push(text);
  }
  close(): void {
    this.dispatchEvent(new Event("close"));
  }
  say(data: unknown): void {
    this.dispatchEvent(new MessageEvent("message", { data: data instanceof ArrayBuffer ? data : JSON.stringify(data) }));
  }
}

const latest = (): PlayedSocket => PlayedSocket.all.at(-1) as PlayedSocket;
let board: TileBoard;

beforeEach(() => {
  vi.useFakeTimers();
  PlayedSocket.all = [];
  vi.stubGlobal("WebSocket", PlayedSocket);
  board = new TileBoard();
  const element = document.createElement("studio-socket") as StudioSocket;
  element.dataset.path = "/ws/w/w/";
  element.board = board;
  document.body.append(element);
});
afterEach(() => document.body.replaceChildren());

test("connects to its own host and keeps the line awake", () => {
  expect(latest().url.pathname).toBe("/ws/w/w/");
  expect(latest().url.protocol).toMatch(/^ws/);
  latest().dispatchEvent(new Event("open"));
  vi.advanceTimersByTime(26_000);
  expect(latest().sent).toEqual(['{"type":"ping"}']);
});

test("messages go to the board", () => {
  const snapshot = vi.spyOn(board, "snapshot").mockReturnValue();
  const progress = vi.spyOn(board, "progress").mockReturnValue();
  const changed = vi.spyOn(board, "changed").mockReturnValue();
  const preview = vi.spyOn(board, "preview").mockReturnValue();
  const agents = record("studio:agents");
  const gone = record("studio:output-gone");
  latest().say({ type: "snapshot", seq: 1, jobs: [{ id: "job_1", status: "queued", count: 2 }, "odd"] });
  latest().say({ type: "progress", id: "job_1", step: 2, steps: 20, index: 0, count: 2 });
  latest().say({ type: "changed", id: "job_1", status: "succeeded", outputs: 2 });
  latest().say({ type: "gone", output_id: "out_1" });
  latest().say({ type: "agents", warm: 1, connected: 2, digests: ["aa"] });
  latest().say({ type: "of tomorrow" });
  latest().dispatchEvent(new MessageEvent("message", { data: "not json" }));
  latest().say(new Uint8Array([1, 0, ...new TextEncoder().encode("j".repeat(30)), 7]).buffer);
  expect(snapshot.mock.calls[0]?.[0]).toMatchObject([{ id: "job_1", status: "queued", count: 2 }]);
  expect(progress.mock.calls[0]?.[0]).toMatchObject({ id: "job_1", status: "running", step: 2 });
  expect(changed).toHaveBeenCalledWith("job_1", "succeeded");
  expect(preview.mock.calls[0]?.[0]).toMatchObject({ job: "j".repeat(30), index: 0 });
  expect(gone).toEqual([{ output: "out_1" }]);
  expect(agents).toEqual([{ warm: 1, connected: 2, digests: ["aa"] }]);
});

test("a lost line is told, and tried again with growing pauses", () => {
  const states = record<{ state: string }>("studio:link");
  latest().dispatchEvent(new Event("open"));
  latest().close();
  expect(states.map(({ state }) => state)).toEqual(["live", "reconnecting"]);
  vi.advanceTimersByTime(600);
  expect(PlayedSocket.all).toHaveLength(2);
  latest().close();
  vi.advanceTimersByTime(400);
  expect(PlayedSocket.all).toHaveLength(2);
  vi.advanceTimersByTime(700);
  expect(PlayedSocket.all).toHaveLength(3);
  latest().dispatchEvent(new Event("open"));
  expect(states.at(-1)?.state).toBe("live");
});

test("a network that is back is used at once", () => {
  latest().close();
  window.dispatchEvent(new Event("online"));
  expect(PlayedSocket.all).toHaveLength(2);
});

test("a refusal is told and not argued with, until someone comes back to the page", () => {
  const states = record<{ state: string }>("studio:link");
  latest().dispatchEvent(Object.assign(new Event("close"), { code: 4401 }));
  expect(states.at(-1)?.state).toBe("signed-out");
  vi.advanceTimersByTime(60_000);
  expect(PlayedSocket.all).toHaveLength(1);
  document.dispatchEvent(new Event("visibilitychange"));
  expect(PlayedSocket.all).toHaveLength(2);
});

test("a page that is left does not come back", () => {
  document.body.replaceChildren();
  vi.advanceTimersByTime(60_000);
  expect(PlayedSocket.all).toHaveLength(1);
});

test("pauses double, have a longest, and differ from tab to tab", () => {
  expect(pauseBefore(0, () => 0)).toBe(250);
  expect(pauseBefore(0, () => 1)).toBe(500);
  expect(pauseBefore(3, () => 1)).toBe(4_000);
  expect(pauseBefore(30, () => 1)).toBe(15_000);
});
