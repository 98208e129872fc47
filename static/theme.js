// Runs before the first paint, so that a remembered theme never flashes. The rest is in frontend/.
try {
  const theme = localStorage.getItem("studio.theme");
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
} catch {
  // Storage is switched off: the system's theme is used.
}
