import { afterEach, vi } from "vitest";

// A test that plays no server has none; nothing here may reach for a real one.
globalThis.fetch = () => Promise.reject(new TypeError("no server in this test"));

afterEach(() => {
  document.body.replaceChildren();
  localStorage.clear();
  sessionStorage.clear();
  vi.unstubAllGlobals();
  vi.useRealTimers();
});
