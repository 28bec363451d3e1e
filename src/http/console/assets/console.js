// Keys, copying, and live parts. Every page works without this file.
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

  // Live parts: each event is HTML of the server; what is as before stays, so that focus and selection do.
  const replace = (old, fresh) => {
    if (old.isEqualNode(fresh)) return;
    const keys = (part) => [...part.querySelectorAll("[data-row]")];
    const [before, after] = [keys(old), keys(fresh)];
    if (before.length > 0 && before.map((row) => row.dataset.row).join() === after.map((row) => row.dataset.row).join()) {
      before.forEach((row, at) => swap(row, after[at]));
    } else swap(old, fresh);
  };
  const swap = (old, fresh) => {
    if (old.isEqualNode(fresh)) return;
    const focused = old.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    old.replaceWith(fresh);
    if (focused !== null) [...fresh.querySelectorAll("a")].find((link) => link.getAttribute("href") === focused)?.focus();
  };
  const parsed = (html) => new DOMParser().parseFromString(html, "text/html");
  // A stream ends every minute, and the browser connects again after the `retry` of the server, 3 s, and the time that the page takes.
  const away = document.createElement("p");
  away.className = "notice";
  away.setAttribute("role", "status");
  let appears = null;
  const lose = (region) => {
    if (appears !== null) return;
    const since = new Date().toLocaleTimeString();
    appears = setTimeout(() => {
      away.textContent = `Not connected since ${since}: what is shown may be old.`;
      region.before(away);
    }, 10000);
  };
  const regain = () => {
    clearTimeout(appears);
    appears = null;
    away.remove();
  };
  // A stream that is refused is asked for again, ever more seldom: each page is whole without.
  const follow = (region, wait_ms) => {
    const source = new EventSource(region.dataset.live);
    source.addEventListener("open", regain);
    source.addEventListener("part", (event) => {
      wait_ms = 5000;
      for (const fresh of parsed(event.data).querySelectorAll("[data-part]")) {
        const old = document.querySelector(`[data-part="${CSS.escape(fresh.dataset.part)}"]`);
        if (old) replace(old, document.adoptNode(fresh));
      }
    });
    source.addEventListener("over", (event) => {
      source.close();
      regain();
      const notice = document.createElement("p");
      notice.className = "notice";
      notice.setAttribute("role", "status");
      notice.append("This page is live no more: ", ...document.adoptNode(parsed(event.data).body).childNodes);
      region.before(notice);
    });
    source.addEventListener("error", () => {
      lose(region);
      if (source.readyState === EventSource.CLOSED && wait_ms < 300000) setTimeout(() => follow(region, wait_ms * 2), wait_ms);
    });
    addEventListener("pagehide", () => source.close(), { once: true });
  };
  for (const region of document.querySelectorAll("[data-live]")) follow(region, 5000);
})();
