import { expect, test } from "vitest";

import { decodeFrame } from "./frames";

const ID = "job_01JD8ZK5W3N4Q7R2T9V6XMHYBC";

function frame(version: number, index: number, id: string, payload: number[]): ArrayBuffer {
  return new Uint8Array([version, index, ...new TextEncoder().encode(id), ...payload]).buffer;
}

test("a frame names its job and picture", async () => {
  const found = decodeFrame(frame(1, 3, ID, [0xff, 0xd8, 1]));
  expect(found?.job).toBe(ID);
  expect(found?.index).toBe(3);
  expect(found?.picture.type).toBe("image/jpeg");
  expect(new Uint8Array((await found?.picture.arrayBuffer()) ?? new ArrayBuffer(0))).toEqual(new Uint8Array([0xff, 0xd8, 1]));
});

test("anything else is left alone", () => {
  expect(decodeFrame(frame(2, 0, ID, [1]))).toBeNull();
  expect(decodeFrame(frame(1, 0, ID, []))).toBeNull();
  expect(decodeFrame(new ArrayBuffer(4))).toBeNull();
  expect(decodeFrame(new Uint8Array(40).fill(200).buffer)).toBeNull();
});
