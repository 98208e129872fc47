/** Small helpers over the document: typed look-ups, and the words the parts of the page call to each other. */

import type { Uploaded } from "./uploads";

/** Events on `document` by which elements talk; each element knows the words, not the other elements. */
export interface StudioEvents {
  "studio:agents": { warm: number; connected: number; digests: readonly string[] };
  "studio:link": { state: LinkState };
  "studio:jobs-changed": { job: string };
  "studio:queue-drawn": Record<string, never>;
  "studio:job-finished": { job: string; outputs: string[] };
  "studio:output-made": { output: string };
  "studio:output-gone": { output: string };
  "studio:output-placed": { output: string; project: string };
  "studio:project": { id: string; name: string };
  "studio:output-restored": { output: string };
  "studio:show-job": { job: string; byUser: boolean };
  "studio:submitted": { job: string; rerun: boolean };
  "studio:open-picture": { url: string; from?: HTMLElement | undefined };
  "studio:close-viewer": Record<string, never>;
  "studio:use-parameters": { values: Parameters; part: ParameterPart; submit?: boolean };
  "studio:start-picture": { picture: Uploaded };
  "studio:use-job": { job: string; submit: boolean };
  "studio:toast": { text: string; action?: { label: string; run: () => void }; bad?: boolean };
  "studio:view": { view: RoomView };
  "studio:clear-history": Record<string, never>;
}
export type LinkState = "connecting" | "live" | "reconnecting" | "offline" | "signed-out" | "no-access";
export type RoomView = "recipe" | "stage" | "gallery" | "queue";
export type ParameterPart = "all" | "prompt" | "seed" | "size" | "remix";
/** Values by the names of GenerationParams, as they come from JSON or from a form. */
export type Parameters = Record<string, string | number | boolean | null | undefined>;

export function emit<K extends keyof StudioEvents>(name: K, detail: StudioEvents[K]): void {
  document.dispatchEvent(new CustomEvent(name, { detail }));
}

/** Listen on the document; the answer stops listening. */
export function listen<K extends keyof StudioEvents>(
  name: K,
  heard: (detail: StudioEvents[K]) => void,
): () => void {
  const listener = (event: Event): void => heard((event as CustomEvent<StudioEvents[K]>).detail);
  document.addEventListener(name, listener);
  return () => document.removeEventListener(name, listener);
}

/** The element inside `root` that plays the part `name` (`data-part`). */
export function part<T extends HTMLElement = HTMLElement>(root: ParentNode, name: string): T | null {
  return root.querySelector<T>(`[data-part="${name}"]`);
}

/** Parse server-rendered HTML without running anything in it. */
export function parseFragment(html: string): DocumentFragment {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content;
}

/** An icon of the sprite in base.html. */
export function icon(name: string): SVGSVGElement {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** Tell screen readers; the same sentence twice is said twice. */
export function announce(text: string): void {
  const live = document.getElementById("live");
  if (!live) return;
  live.textContent = live.textContent === text ? `${text}\u00a0` : text;
}

/** True where keys are text: a shortcut of one character must not fire there. */
export function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  if (target.isContentEditable || target instanceof HTMLTextAreaElement) return true;
  if (target instanceof HTMLSelectElement) return true;
  if (!(target instanceof HTMLInputElement)) return false;
  return !["radio", "checkbox", "button", "submit", "file", "range"].includes(target.type);
}

export const isMac = /Mac|iPhone|iPad/.test(navigator.platform);

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}
