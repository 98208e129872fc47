/** The number of columns in which `count` pictures of one shape are shown largest. Pure. */

export interface Cell {
  columns: number;
  width: number;
  height: number;
}

export function bestGrid(count: number, ratio: number, width: number, height: number, gap: number): Cell {
  let best: Cell = { columns: 1, width: 0, height: 0 };
  for (let columns = 1; columns <= Math.max(1, count); columns += 1) {
    const rows = Math.ceil(count / columns);
    const roomX = (width - gap * (columns - 1)) / columns;
    const roomY = (height - gap * (rows - 1)) / rows;
    const wide = Math.floor(Math.min(roomX, roomY * ratio));
    if (wide > best.width) best = { columns, width: wide, height: Math.floor(wide / ratio) };
  }
  return best;
}
