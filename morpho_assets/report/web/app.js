// What the page does: routes between the report and the treatments, search, light and dark.

const redraws = [];
function redrawOnTheme(draw) { redraws.push(draw); }

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  try { localStorage.setItem("morpho-theme", theme); } catch { /* a page opened from a file may keep nothing */ }
  document.getElementById("theme").textContent = theme === "dark" ? "Light" : "Dark";
  redraws.forEach((draw) => draw());
  if (location.hash.startsWith("#t=")) route(false);
}
function startTheme() {
  let kept = null;
  try { kept = localStorage.getItem("morpho-theme"); } catch { /* likewise */ }
  const button = document.getElementById("theme");
  button.addEventListener("click", () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  setTheme(kept ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
}

const MOST_FOUND = 12;
function startSearch() {
  const index = read("index"), input = document.getElementById("search"), list = document.getElementById("found");
  if (!index?.length) { input.closest("form").hidden = true; return; }
  let chosen = -1;
  const close = () => { list.hidden = true; input.setAttribute("aria-expanded", "false"); chosen = -1; };
  const choose = (step) => {
    const options = [...list.querySelectorAll("[role=option]")];
    if (!options.length) return;
    chosen = (chosen + step + options.length) % options.length;
    options.forEach((option, i) => option.setAttribute("aria-selected", String(i === chosen)));
    input.setAttribute("aria-activedescendant", options[chosen].id);
    options[chosen].scrollIntoView({ block: "nearest" });
  };
  const go = (number) => { close(); input.value = ""; location.hash = `#t=${number}`; };
  function find() {
    const words = input.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    if (!words.length) { close(); return; }
    const found = [];
    index.forEach((entry, number) => { if (words.every((word) => entry.s.includes(word))) found.push([entry, number]); });
    found.sort(([a], [b]) => Number(b.l.toLowerCase().startsWith(words[0])) - Number(a.l.toLowerCase().startsWith(words[0])));
    list.replaceChildren(...found.slice(0, MOST_FOUND).map(([entry, number], i) => h("li", { role: "option", id: `found-${i}`, "aria-selected": "false", onmousedown: (event) => { event.preventDefault(); go(number); } },
      h("b", {}, entry.l), " ", h("span", { class: "soft" }, [entry.i === entry.l ? "" : entry.i, entry.t].filter(Boolean).join(" · ")))),
      h("li", { class: "soft" }, found.length ? `${shown(found.length)} found` : "Nothing has this name, id or target."));
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    chosen = -1;
  }
  input.addEventListener("input", find);
  input.addEventListener("focus", find);
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") { event.preventDefault(); choose(event.key === "ArrowDown" ? 1 : -1); }
    if (event.key === "Escape") close();
  });
  input.closest("form").addEventListener("submit", (event) => {
    event.preventDefault();
    const option = list.querySelectorAll("[role=option]")[Math.max(chosen, 0)];
    if (option) option.dispatchEvent(new MouseEvent("mousedown", { cancelable: true }));
  });
}

let scrolled = 0;
function route(move = true) {
  const wanted = location.hash.match(/^#t=(\d+)$/), report = document.getElementById("report"), treatment = document.getElementById("treatment");
  if (!report.hidden) scrolled = window.scrollY;
  report.hidden = Boolean(wanted);
  treatment.hidden = !wanted;
  tooltip("", null);
  if (wanted) {
    showTreatment(Number(wanted[1]));
    document.title = `${treatment.querySelector("h1")?.textContent ?? "Treatment"} – ${document.body.dataset.title}`;
    if (move) { window.scrollTo(0, 0); treatment.querySelector("h1")?.focus({ preventScroll: true }); }
    return;
  }
  document.title = document.body.dataset.title;
  treatment.replaceChildren();
  const target = location.hash.length > 1 && location.hash !== "#top" ? document.getElementById(decodeURIComponent(location.hash.slice(1))) : null;
  if (move && target) target.scrollIntoView();
  else if (move) window.scrollTo(0, scrolled);
}

startTables();
startTheme();
startSearch();
for (const holder of document.querySelectorAll("[data-widget]")) ({ plates: platesWidget, maps: mapsWidget })[holder.dataset.widget]?.(holder);
window.addEventListener("hashchange", () => route());
if (location.hash) route();
