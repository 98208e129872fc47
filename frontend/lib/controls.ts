/** The controls and references of a recipe as the form holds them: read from its JSON, and written as it is sent. */

export interface Use {
  kind: string;
  model: string;
  /** The picture's hash; empty while there is none. */
  picture: string;
  isMap: boolean;
  /** What makes the map, where pixels alone do not; empty: the library's first. */
  mapper?: string;
  weight: number;
  start: number;
  end: number;
  low: number;
  high: number;
}

export const USUAL = { weight: 1, start: 0, end: 1, low: 6, high: 16 };

/** What stands for the model of a reference, which needs none. */
export const REFERENCE = "reference";

/** The kind of a reference that a model of its own looks at. */
export const IP_ADAPTER = "ip_adapter";

/** Whether what is drawn takes after it; else it is guided by its map. */
export function isReference(use: Use): boolean {
  return use.model === REFERENCE || use.kind === IP_ADAPTER;
}

/** As `POST jobs` takes it. */
export function toWire(use: Use): Record<string, string | number> {
  if (isReference(use)) {
    const picture: Record<string, string> = use.picture ? { image: use.picture } : {};
    const named: Record<string, string> = use.model === REFERENCE ? { kind: REFERENCE } : { kind: IP_ADAPTER, model: use.model };
    return { ...named, ...picture, weight: use.weight, start: use.start, end: use.end };
  }
  const said: Record<string, string | number> = { kind: use.kind, model: use.model };
  if (use.picture) said[use.isMap ? "map" : "image"] = use.picture;
  said["weight"] = use.weight;
  said["start"] = use.start;
  said["end"] = use.end;
  if (use.mapper && !use.isMap) said["mapper"] = use.mapper;
  if (use.kind === "canny" && !use.isMap) {
    said["low"] = use.low;
    said["high"] = use.high;
  }
  return said;
}

/** The list that a form or a recipe holds; whatever else it is counts as none. */
export function parseControls(text: string): Use[] {
  if (!text) return [];
  try {
    const read: unknown = JSON.parse(text);
    return Array.isArray(read) ? read.filter(isNamed).map(fromWire) : [];
  } catch {
    return [];
  }
}

function isNamed(each: unknown): each is Record<string, unknown> {
  return typeof each === "object" && each !== null && ["model", "kind"].some((name) => typeof (each as Record<string, unknown>)[name] === "string");
}

function fromWire(said: Record<string, unknown>): Use {
  const map = typeof said["map"] === "string" ? said["map"] : "";
  const image = typeof said["image"] === "string" ? said["image"] : "";
  return {
    kind: String(said["kind"] ?? "canny"),
    model: String(said["model"] ?? REFERENCE),
    picture: map || image,
    isMap: map !== "",
    ...(typeof said["mapper"] === "string" ? { mapper: said["mapper"] } : {}),
    weight: numberOf(said["weight"], USUAL.weight),
    start: numberOf(said["start"], USUAL.start),
    end: numberOf(said["end"], USUAL.end),
    low: numberOf(said["low"], USUAL.low),
    high: numberOf(said["high"], USUAL.high),
  };
}

function numberOf(value: unknown, usual: number): number {
  return typeof value === "number" && Number.isFinite(value) ? value : usual;
}
