/** The keys of the page, in one list: what `?` shows is what works. */

import { isMac, isTyping } from "./dom";
import { readSetting, writeSetting } from "./store";

export interface KeyBinding {
  /** Like `mod+enter`, `shift+x`, `alt+arrowup`, `?`; `mod` is ⌘ on a Mac and Ctrl elsewhere. */
  keys: string;
  label: string;
  group: "Making" | "Room" | "Picture" | "Gallery";
  run: (event: KeyboardEvent) => void;
  /** Only while this is true, for example while a picture is open. */
  when?: () => boolean;
  /** Also inside text fields. */
  typing?: boolean;
}

const bindings: KeyBinding[] = [];

/** Add bindings; the answer takes them away again. */
export function bindKeys(...added: KeyBinding[]): () => void {
  bindings.push(...added);
  return () => {
    for (const binding of added) {
      const at = bindings.indexOf(binding);
      if (at >= 0) bindings.splice(at, 1);
    }
  };
}

export function allBindings(): readonly KeyBinding[] {
  return bindings;
}

/** Keys of one character can be switched off: they disturb speech input. */
export function areSingleKeysOn(): boolean {
  return readSetting("single-keys") !== false;
}

export function setSingleKeys(on: boolean): void {
  writeSetting("single-keys", on);
}

/** `mod+shift+enter` for an event; a shifted sign like `?` goes without its shift. */
export function keysOf(event: KeyboardEvent, mac = isMac): string {
  const key = event.key.toLowerCase();
  const isSign = key.length === 1 && !/[a-z0-9 ]/.test(key);
  const names: string[] = [];
  if (mac ? event.metaKey : event.ctrlKey) names.push("mod");
  if (mac && event.ctrlKey) names.push("ctrl");
  if (event.altKey) names.push("alt");
  if (event.shiftKey && !isSign) names.push("shift");
  names.push(key === " " ? "space" : key);
  return names.join("+");
}

function isSingle(keys: string): boolean {
  const last = keys.split("+").pop() ?? keys;
  return last.length <= 1 && !/^(mod|ctrl|alt)\+/.test(keys);
}

/** Run the last binding that fits; true when there was one. */
export function handleKey(event: KeyboardEvent): boolean {
  if (event.defaultPrevented || event.isComposing) return false;
  const pressed = keysOf(event);
  const typing = isTyping(event.target);
  if (document.querySelector("dialog[open]") && pressed !== "mod+enter") return false;
  // Sliders and radio buttons have arrow keys of their own.
  if (pressed.startsWith("arrow") && event.target instanceof HTMLInputElement) return false;
  for (const binding of [...bindings].reverse()) {
    if (binding.keys !== pressed) continue;
    if (typing && !binding.typing) continue;
    if (isSingle(binding.keys) && !areSingleKeysOn()) continue;
    if (binding.when && !binding.when()) continue;
    event.preventDefault();
    binding.run(event);
    return true;
  }
  return false;
}

const SIGNS: Record<string, string> = {
  mod: isMac ? "⌘" : "Ctrl",
  ctrl: "Ctrl",
  alt: isMac ? "⌥" : "Alt",
  shift: "⇧",
  enter: "↵",
  arrowup: "↑",
  arrowdown: "↓",
  arrowleft: "←",
  arrowright: "→",
  delete: "Del",
  escape: "Esc",
};

/** The caps to draw for a binding. */
export function keyCaps(keys: string): string[] {
  return keys.split("+").map((name) => SIGNS[name] ?? (name.length === 1 ? name.toUpperCase() : name));
}
