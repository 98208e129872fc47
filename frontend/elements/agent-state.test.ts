import { expect, test } from "vitest";

import "./agent-state";
import { describeState } from "./agent-state";
import { emit } from "../lib/dom";
import { mount } from "../test/pages";

test.each([
  ["live", 1, 2, "Model warm", "good"],
  ["live", 0, 2, "Model loading", "wait"],
  ["live", 0, 0, "No agent connected", "bad"],
  ["reconnecting", 1, 1, "Reconnecting…", "bad"],
  ["signed-out", 1, 1, "Signed out: sign in again", "bad"],
  ["offline", 1, 1, "Offline: nothing is lost", "bad"],
] as const)("%s, %i warm of %i: %s", (link, warm, connected, text, mood) => {
  expect(describeState(link, warm, connected)).toEqual({ text, mood });
});

test("a lost and a regained line are told to screen readers, the first connect is not", () => {
  mount('<p id="live"></p><agent-state data-connected="1" data-warm="1" data-link="connecting"></agent-state>');
  const live = document.getElementById("live");
  emit("studio:link", { state: "live" });
  expect(live?.textContent).toBe("");
  emit("studio:link", { state: "reconnecting" });
  expect(live?.textContent).toContain("connection is lost");
  expect(document.querySelector("agent-state")?.textContent).toBe("Reconnecting…");
  emit("studio:link", { state: "live" });
  expect(live?.textContent).toBe("Connected again.");
});
