/* Light or dark, as the system says or as chosen here; before anything is painted. */
(function () {
  "use strict";
  const root = document.documentElement;
  let chosen = null;
  try { chosen = localStorage.getItem("picojoule-theme"); } catch { /* not allowed: not kept */ }
  if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;
  const isDark = () => root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const show = () => { button.textContent = isDark() ? "Light" : "Dark"; };
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      try { localStorage.setItem("picojoule-theme", root.dataset.theme); } catch { /* as above */ }
      show();
      document.dispatchEvent(new Event("picojoule-theme"));
    });
    show();
  });
})();
