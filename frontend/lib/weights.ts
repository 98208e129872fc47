/** Prompt weights, `(words:1.1)`: raise or lower the weight of what is selected. Pure. */

export interface Edit {
  text: string;
  start: number;
  end: number;
}

const STEP = 0.1;
const LEAST = 0.1;
const MOST = 2;

/** Change the weight of the selection (or of the word under the caret) by `direction` tenths. */
export function changeWeight(text: string, start: number, end: number, direction: 1 | -1): Edit {
  const [from, to] = start === end ? wordAt(text, start) : trimmed(text, start, end);
  if (from === to) return { text, start, end };
  const around = weighted(text, from, to);
  const inner = around ? around.inner : text.slice(from, to);
  const weight = Math.round((around ? around.weight : 1) * 10 + direction * STEP * 10) / 10;
  const bounded = Math.min(MOST, Math.max(LEAST, weight));
  const head = text.slice(0, around ? around.from : from);
  const tail = text.slice(around ? around.to : to);
  const middle = bounded === 1 ? inner : `(${inner}:${bounded.toFixed(1)})`;
  const offset = bounded === 1 ? 0 : 1;
  return {
    text: head + middle + tail,
    start: head.length + offset,
    end: head.length + offset + inner.length,
  };
}

function wordAt(text: string, caret: number): [number, number] {
  const isPart = (at: number): boolean => /[\p{L}\p{N}_'’-]/u.test(text[at] ?? "");
  let from = caret;
  let to = caret;
  while (from > 0 && isPart(from - 1)) from -= 1;
  while (to < text.length && isPart(to)) to += 1;
  return [from, to];
}

function trimmed(text: string, start: number, end: number): [number, number] {
  let [from, to] = [start, end];
  while (from < to && /\s/.test(text[from] ?? "")) from += 1;
  while (to > from && /\s/.test(text[to - 1] ?? "")) to -= 1;
  return [from, to];
}

/** The weighted group that the selection is, or is the inside of. */
function weighted(text: string, from: number, to: number): { from: number; to: number; inner: string; weight: number } | null {
  const whole = /^\((.+):(\d+(?:\.\d+)?)\)$/s.exec(text.slice(from, to));
  if (whole?.[1] && whole[2]) return { from, to, inner: whole[1], weight: Number(whole[2]) };
  const after = /^:(\d+(?:\.\d+)?)\)/.exec(text.slice(to));
  if (text[from - 1] !== "(" || !after?.[1]) return null;
  return { from: from - 1, to: to + after[0].length, inner: text.slice(from, to), weight: Number(after[1]) };
}
