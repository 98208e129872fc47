import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { type Arriving, RefusedError, fingerprintOf, sendPieces } from "./sending";

const FILE = new File([new Uint8Array(25)], "model.safetensors", { lastModified: 1 });
let received = 0;
let sent: number[] = [];
let answers: (() => Response)[] = [];

function arriving(): Arriving {
  return {
    id: "mup_1",
    state: received < FILE.size ? "receiving" : "checking",
    size_bytes: FILE.size,
    received_bytes: received,
    piece_bytes: 10,
    problem: null,
    state_url: "/state",
    content_url: "/content",
    retry_url: "/retry",
    model_url: "",
  };
}

const json = (body: unknown, status = 200): Response => new Response(JSON.stringify(body), { status });

beforeEach(() => {
  received = 0;
  sent = [];
  answers = [];
  vi.stubGlobal("fetch", async (url: string, init: RequestInit = {}) => {
    await Promise.resolve();
    if (init.method !== "PUT") return json(arriving());
    const odd = answers.shift();
    if (odd) return odd();
    sent.push(Number(url.split("=")[1]));
    received += (init.body as Blob).size;
    return json(arriving());
  });
});

afterEach(() => vi.unstubAllGlobals());

function send(stop = new AbortController()): Promise<Arriving> {
  return sendPieces(arriving(), {
    file: FILE,
    signal: stop.signal,
    onProgress: () => undefined,
    onWait: () => undefined,
    wait: async () => Promise.resolve(),
  });
}

test("all pieces are sent in their order, the last one shorter", async () => {
  expect((await send()).state).toBe("checking");
  expect(sent).toEqual([0, 10, 20]);
});

test("what is there already is not sent again", async () => {
  received = 20;
  await send();
  expect(sent).toEqual([20]);
});

test("a broken line is tried again, and a server that is down", async () => {
  const broken = (): Response => {
    throw new TypeError("network");
  };
  answers = [broken, () => new Response("bad gateway", { status: 502 }), broken];
  expect((await send()).received_bytes).toBe(25);
  expect(sent).toEqual([0, 10, 20]);
});

test("when another tab was quicker it goes on where that is", async () => {
  answers = [
    () => {
      received = 10;
      return json({ detail: "The next piece begins at 10." }, 409);
    },
  ];
  await send();
  expect(sent).toEqual([10, 20]);
});

test.each([403, 404, 422, 507])("%i ends it with the server's sentence", async (status) => {
  answers = [() => json({ detail: "There is no room." }, status)];
  await expect(send()).rejects.toThrow(new RefusedError("There is no room."));
  expect(sent).toEqual([]);
});

test("it can be stopped", async () => {
  const stop = new AbortController();
  stop.abort(new Error("paused"));
  await expect(send(stop)).rejects.toThrow("paused");
  expect(sent).toEqual([]);
});

test("the same file has the same name, another one another", async () => {
  const same = new File([new Uint8Array(25)], "model.safetensors", { lastModified: 1 });
  const other = new File([new Uint8Array(24), "x"], "model.safetensors", { lastModified: 1 });
  const print = await fingerprintOf(FILE);
  expect(print).toMatch(/^[0-9a-f]{64}$/);
  expect(await fingerprintOf(same)).toBe(print);
  expect(await fingerprintOf(other)).not.toBe(print);
});
