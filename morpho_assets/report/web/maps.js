// Maps of the wells in each space, coloured by batch or anything else; names on hover.

function mapsWidget(holder) {
  const wells = theWells();
  if (!wells || !wells.maps.length) return;
  let map = 0, by = "batch", marked = "";
  const canvas = h("canvas", { class: "map", tabindex: "0", role: "img" });
  const key = h("div", { class: "legend" });
  const labels = {
    batch: (well) => wells.plates[wells.plate[well]].batch, plate: (well) => wells.plates[wells.plate[well]].name,
    kind: (well) => KINDS[kindOf(well)], target: (well) => (wells.treatment[well] === NONE ? "none" : read("index")[wells.treatment[well]].t || "none"),
  };
  let points = [];
  function colours() {
    if (labels[by] === undefined) {
      key.replaceChildren(...legend(Number(by)).childNodes);
      return (well) => colourOfWell(Number(by), well) ?? style("--faint");
    }
    const counts = new Map();
    points.forEach(({ well }) => counts.set(labels[by](well), (counts.get(labels[by](well)) ?? 0) + 1));
    const ranked = [...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a) || String(a).localeCompare(b));
    const coloured = ranked.length > GROUPS.length ? ranked.slice(0, GROUPS.length - 1) : ranked;
    const colour = new Map(coloured.map((name, i) => [name, GROUPS[i]]));
    key.replaceChildren(...coloured.map((name) => h("span", {}, h("i", { style: `background:${colour.get(name)}` }), `${name} (${shown(counts.get(name))})`)),
      ...(ranked.length > coloured.length ? [h("span", {}, h("i", { style: "background:var(--faint)" }), `${ranked.length - coloured.length} others`)] : []));
    return (well) => colour.get(labels[by](well)) ?? style("--faint");
  }
  function draw() {
    const { x, y, name } = wells.maps[map], xs = unpacked(x), ys = unpacked(y), ratio = window.devicePixelRatio || 1;
    const width = canvas.clientWidth || 700, height = Math.round(width * 0.62), edge = 14;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    canvas.setAttribute("aria-label", `Map ${name}, coloured by ${labels[by] ? by : wells.columns[Number(by)].name}. Arrow keys go from well to well.`);
    points = [];
    xs.forEach((at, well) => { if (at !== NONE) points.push({ well, x: edge + at / 65534 * (width - 2 * edge), y: height - edge - ys[well] / 65534 * (height - 2 * edge) }); });
    const context = canvas.getContext("2d"), colour = colours(), size = points.length > 5000 ? 1.6 : points.length > 1000 ? 2.6 : 4;
    context.scale(ratio, ratio);
    context.clearRect(0, 0, width, height);
    const wanted = marked.trim().toLowerCase();
    const hit = ({ well }) => wanted && wells.treatment[well] !== NONE && read("index")[wells.treatment[well]].s.includes(wanted);
    const front = points.filter(hit), back = points.filter((point) => !hit(point));
    context.globalAlpha = wanted ? 0.25 : 0.85;
    for (const point of back) dot(context, point, size, colour(point.well));
    context.globalAlpha = 1;
    for (const point of front) dot(context, point, size + 2, colour(point.well), true);
  }
  function dot(context, point, size, colour, ring) {
    context.beginPath();
    context.arc(point.x, point.y, size, 0, 7);
    context.fillStyle = colour;
    context.fill();
    if (ring) { context.strokeStyle = style("--ink"); context.lineWidth = 1.5; context.stroke(); }
  }
  const number = () => (labels[by] ? null : Number(by));
  function nearest(event) {
    const box = canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    let best = null, least = 100;
    for (const point of points) { const apart = (point.x - x) ** 2 + (point.y - y) ** 2; if (apart < least) [best, least] = [point, apart]; }
    return best;
  }
  canvas.addEventListener("mousemove", (event) => { const found = nearest(event); tooltip(found ? wellText(found.well, number()) : "", event); });
  canvas.addEventListener("mouseleave", () => tooltip("", null));
  canvas.addEventListener("click", (event) => openWell(nearest(event)?.well));
  let at = 0;
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    if (event.key === "Enter") openWell(points[at]?.well);
    if (!step || !points.length) return;
    event.preventDefault();
    at = (at + step + points.length) % points.length;
    const box = canvas.getBoundingClientRect();
    tooltip(wellText(points[at].well, number()), { clientX: box.left + points[at].x, clientY: box.top + points[at].y });
  });
  const which = h("select", { "aria-label": "Which map", onchange: () => { map = Number(which.value); draw(); } }, ...wells.maps.map(({ name }, i) => h("option", { value: i }, name)));
  const colour = columnChoice([["batch", "batch"], ["plate", "plate"], ["kind", "kind of well"], ["target", "target or mechanism"]], "What colours the map", (value) => { by = value; draw(); });
  const mark = h("input", { type: "search", placeholder: "name, id or target", "aria-label": "Mark treatments on the map", oninput: () => { marked = mark.value; draw(); } });
  holder.append(h("div", { class: "tools" }, h("label", {}, "Map ", which), h("label", {}, "Colour ", colour), h("label", {}, "Mark ", mark)), canvas, key);
  draw();
  new ResizeObserver(() => draw()).observe(canvas);
  redrawOnTheme(draw);
}
