/** What this browser remembers. Confidential things are bound to a person and cleared at sign-out. */

const OWNER = "studio.owner";
const PRIVATE = "studio.private.";
const PLAIN = "studio.";

function quietly<T>(run: () => T, otherwise: T): T {
  try {
    return run();
  } catch {
    return otherwise; // storage is switched off or full: the page works without memory
  }
}

function read(storage: Storage, key: string): unknown {
  const text = storage.getItem(key);
  if (text === null) return null;
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

export function readSetting(key: string): unknown {
  return quietly(() => read(localStorage, PLAIN + key), null);
}

export function writeSetting(key: string, value: unknown): void {
  quietly(() => localStorage.setItem(PLAIN + key, JSON.stringify(value)), undefined);
}

/** Prompts and the like: `where` is the session (this tab) or the browser. */
export function readPrivate(where: "tab" | "browser", key: string): unknown {
  return quietly(() => read(where === "tab" ? sessionStorage : localStorage, PRIVATE + key), null);
}

export function writePrivate(where: "tab" | "browser", key: string, value: unknown): void {
  const storage = where === "tab" ? sessionStorage : localStorage;
  quietly(() => storage.setItem(PRIVATE + key, JSON.stringify(value)), undefined);
}

/** Forget everything private; settings like the theme stay. */
export function clearPrivate(): void {
  for (const storage of [localStorage, sessionStorage]) {
    quietly(() => {
      const keys = Array.from({ length: storage.length }, (_, at) => storage.key(at) ?? "");
      for (const key of keys) if (key.startsWith(PRIVATE)) storage.removeItem(key);
      storage.removeItem(OWNER);
    }, undefined);
  }
}

/** Bind what is kept to `user`: another person's prompts must never show up at this desk. */
export function claimStore(user: string): void {
  for (const storage of [localStorage, sessionStorage]) {
    quietly(() => {
      const owner = storage.getItem(OWNER);
      if (owner === user) return;
      const keys = Array.from({ length: storage.length }, (_, at) => storage.key(at) ?? "");
      for (const key of keys) if (key.startsWith(PRIVATE)) storage.removeItem(key);
      storage.setItem(OWNER, user);
    }, undefined);
  }
}
