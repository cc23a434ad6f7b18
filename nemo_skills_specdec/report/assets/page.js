(() => {
  "use strict";
  const tip = document.getElementById("tip");

  function show(text, x, y) {
    tip.textContent = text;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const left = x + 14 + box.width > innerWidth - 8 ? x - 14 - box.width : x + 14;
    const top = y + 14 + box.height > innerHeight - 8 ? y - 14 - box.height : y + 14;
    tip.style.transform = `translate(${Math.max(8, left)}px, ${Math.max(8, top)}px)`;
  }

  function hide() {
    tip.hidden = true;
  }

  function showAt(element, text) {
    const box = element.getBoundingClientRect();
    show(text, box.left + box.width / 2, box.bottom);
  }

  for (const term of document.querySelectorAll("dfn[data-tip]")) {
    const told = () => showAt(term, term.dataset.tip);
    for (const name of ["mouseenter", "focus", "click"]) term.addEventListener(name, told);
    for (const name of ["mouseleave", "blur"]) term.addEventListener(name, hide);
  }
  addEventListener("scroll", hide, { passive: true });
  addEventListener("keydown", (event) => event.key === "Escape" && hide());

  document.getElementById("scheme").addEventListener("click", () => {
    const dark = getComputedStyle(document.documentElement).colorScheme === "dark" ||
      (document.documentElement.style.colorScheme === "" && matchMedia("(prefers-color-scheme: dark)").matches);
    document.documentElement.style.colorScheme = dark ? "light" : "dark";
  });

  // Arrow keys go through the points of a plot, as a pointer would.
  function readByKeys(container) {
    let current = -1;
    const points = () => [...container.querySelectorAll('path[role="graphics-symbol"][aria-label]')];
    const leave = () => {
      container.querySelector(".current")?.classList.remove("current");
      hide();
    };
    container.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      const all = points();
      if (!step || !all.length) return;
      event.preventDefault();
      leave();
      current = (current + step + all.length) % all.length;
      all[current].classList.add("current");
      showAt(all[current], all[current].getAttribute("aria-label"));
    });
    container.addEventListener("blur", leave);
  }

  async function draw({ name, spec }) {
    const container = document.querySelector(`[data-plot="${CSS.escape(name)}"]`);
    const view = new vega.View(vega.parse(vegaLite.compile(spec).spec), {
      renderer: "svg",
      container,
      hover: true,
      logLevel: vega.Warn,
    });
    view.tooltip((_, event, item, value) => {
      if (value === null || value === undefined || value === "") hide();
      else show(String(value), event.clientX, event.clientY);
    });
    await view.runAsync();
    readByKeys(container);
    container.dataset.drawn = "yes";
  }

  (async () => {
    for (const plot of JSON.parse(document.getElementById("plots").textContent)) {
      try {
        await draw(plot);
      } catch (error) {
        console.error(plot.name, error);
      }
    }
    document.documentElement.dataset.drawn = "yes";
  })();
})();
