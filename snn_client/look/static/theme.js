// Light or dark, as Airflow has it: before anything is drawn, and whenever it changes. Airflow keeps its choice in
// localStorage under "theme": light, dark or system.
(function () {
  "use strict";
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  function apply() {
    let chosen = "system";
    try { chosen = localStorage.getItem("theme") || "system"; } catch { /* a frame without storage */ }
    const dark = chosen === "dark" || (chosen !== "light" && system.matches);
    document.documentElement.classList.toggle("dark", dark);
    document.documentElement.classList.toggle("light", !dark);
    window.dispatchEvent(new Event("snn-theme"));
  }
  apply();
  window.addEventListener("storage", (event) => { if (event.key === "theme" || event.key === null) apply(); });
  system.addEventListener("change", apply);
  window.snnTheme = apply;
})();
