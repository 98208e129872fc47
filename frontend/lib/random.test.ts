import { expect, test, vi } from "vitest";

import { randomSeed, randomUuid, SEED_MAX } from "./random";

test("keys are made without a secure context too", () => {
  const shape = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
  expect(randomUuid()).toMatch(shape);
  const { getRandomValues } = crypto;
  vi.stubGlobal("crypto", { getRandomValues: getRandomValues.bind(crypto) });
  expect(randomUuid()).toMatch(shape);
  expect(randomUuid()).not.toBe(randomUuid());
});

test("a seed is a whole number in range", () => {
  const seed = randomSeed();
  expect(Number.isInteger(seed) && seed >= 0 && seed <= SEED_MAX).toBe(true);
});
