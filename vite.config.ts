import { defineConfig } from "vitest/config";

export default defineConfig({
  // Relative, so that the style sheet finds its font wherever STATIC_URL points.
  base: "./",
  publicDir: false,
  build: {
    outDir: "static/build",
    emptyOutDir: true,
    manifest: "manifest.json",
    modulePreload: false,
    // The content security policy allows no data: URLs.
    assetsInlineLimit: 0,
    rollupOptions: { input: "frontend/main.ts" },
  },
  test: {
    environment: "happy-dom",
    include: ["frontend/**/*.test.ts"],
    setupFiles: ["frontend/test/setup.ts"],
    // Two cores are shared with the servers: one worker starts faster than several.
    maxWorkers: 1,
    isolate: true,
  },
});
