import { expect, test } from "vitest";

import { bestGrid } from "./stage-grid";

test.each<[number, number, number, number, number]>([
  [1, 1, 800, 600, 1],
  [4, 1, 800, 600, 2],
  [4, 0.5, 1200, 400, 4],
  [3, 1, 400, 900, 1],
  [16, 1, 800, 800, 4],
])("%i pictures of ratio %d in %i × %i stand in %i columns", (count, ratio, width, height, columns) => {
  expect(bestGrid(count, ratio, width, height, 12).columns).toBe(columns);
});

test("every picture fits", () => {
  for (let count = 1; count <= 16; count += 1) {
    const { columns, width, height } = bestGrid(count, 1.5, 700, 500, 12);
    const rows = Math.ceil(count / columns);
    expect(columns * width + (columns - 1) * 12).toBeLessThanOrEqual(700);
    expect(rows * height + (rows - 1) * 12).toBeLessThanOrEqual(500 + rows);
  }
});
