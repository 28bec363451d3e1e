// Keys and copying. Every page works without this file.
(() => {
  "use strict";
  const typing = (target) => target.closest("input, textarea, select") !== null;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    const focus = (element) => { if (element) { event.preventDefault(); element.focus(); } };
    const rail = [...document.querySelectorAll("[data-rail] a[data-step]")];
    const at = rail.indexOf(document.activeElement);
    if (event.key === "/") focus(document.querySelector("input[type=search]"));
    else if (event.key === "j") focus(rail[Math.min(at + 1, rail.length - 1)]);
    else if (event.key === "k") focus(rail[Math.max(at - 1, 0)]);
    else if (event.key === "d") { const diff = document.querySelector("a[data-key=d]"); if (diff) diff.click(); }
  });
  document.addEventListener("click", (event) => {
    const source = event.target.closest("[data-copy]");
    if (!source || !navigator.clipboard || String(getSelection()) !== "") return;
    navigator.clipboard.writeText(source.dataset.copy || source.textContent);
  });
})();
