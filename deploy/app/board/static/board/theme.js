// Sets light or dark before the first paint: the stored choice, else the system's.
(() => {
  const stored = (() => { try { return localStorage.getItem("theme"); } catch { return null; } })();
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => { document.documentElement.dataset.bsTheme = stored || (dark.matches ? "dark" : "light"); };
  apply();
  if (!stored) dark.addEventListener("change", apply);
})();
