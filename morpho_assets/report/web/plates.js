// Plates from above, all on one colour scale; and the little maps that say where the wells of a treatment lie.

const SHAPES = [[8, 12], [16, 24], [32, 48]];
let wellsKept = null;

/** The wells of the study: place, plate and treatment of each, and the columns that can be shown. */
function theWells() {
  if (wellsKept) return wellsKept;
  const data = read("wells");
  if (!data) return null;
  const place = unpacked(data.place), plate = unpacked(data.plate), treatment = unpacked(data.treatment);
  const byPlate = data.plates.map(() => []);
  plate.forEach((number, i) => byPlate[number].push(i));
  let shape = SHAPES[0];
  place.forEach((at) => { while (Math.floor(at / 64) >= shape[0] || at % 64 >= shape[1]) shape = SHAPES[SHAPES.indexOf(shape) + 1]; });
  wellsKept = { ...data, place, plate, treatment, byPlate, shape, values: new Map() };
  return wellsKept;
}
function wellName(at) {
  const row = Math.floor(at / 64), letter = row < 26 ? String.fromCharCode(65 + row) : `A${String.fromCharCode(39 + row)}`;
  return `${letter}${String(at % 64 + 1).padStart(2, "0")}`;
}
function column(number) {
  const wells = theWells();
  if (!wells.values.has(number)) wells.values.set(number, unpacked(wells.columns[number].data));
  return wells.values.get(number);
}
function valueOf(number, well) {
  const { low, high } = theWells().columns[number], packed = column(number)[well];
  return packed === NONE ? null : low + (high - low) * packed / 65534;
}
const KINDS = { control: "negative control", positive: "positive control", treated: "treated", empty: "no treatment" };
const KIND_COLOURS = { control: "#9aa5b1", positive: "#E69F00", treated: "#0072B2", empty: "transparent" };
function kindOf(well) {
  const treatment = theWells().treatment[well];
  return treatment === NONE ? "empty" : read("index")[treatment].k ?? "treated";
}
function colourOfWell(number, well) {
  if (number === null) return KIND_COLOURS[kindOf(well)];
  const packed = column(number)[well];
  return packed === NONE ? null : viridis(packed / 65534);
}
function wellText(well, number) {
  const wells = theWells(), treatment = wells.treatment[well];
  const name = treatment === NONE ? "no treatment" : read("index")[treatment].l;
  const value = number === null || number === undefined ? "" : `; ${wells.columns[number].name}: ${shown(valueOf(number, well))}`;
  return `${wells.plates[wells.plate[well]].name} ${wellName(wells.place[well])}: ${name}${value}`;
}

/** A canvas of one plate; `marked` wells are ringed. */
function drawPlate(canvas, number, plate, marked, size) {
  const wells = theWells(), [rows, columns] = wells.shape, ratio = window.devicePixelRatio || 1;
  canvas.width = columns * size * ratio;
  canvas.height = rows * size * ratio;
  canvas.style.aspectRatio = `${columns} / ${rows}`;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  context.fillStyle = style("--empty");
  context.fillRect(0, 0, columns * size, rows * size);
  for (const well of wells.byPlate[plate]) {
    const x = (wells.place[well] % 64) * size, y = Math.floor(wells.place[well] / 64) * size, gap = size > 5 ? 1 : 0;
    const colour = colourOfWell(number, well);
    context.fillStyle = colour ?? style("--card");
    context.fillRect(x, y, size - gap, size - gap);
    if (colour === null) {
      context.strokeStyle = style("--chance");
      context.beginPath();
      context.moveTo(x + 1, y + 1);
      context.lineTo(x + size - 2, y + size - 2);
      context.moveTo(x + size - 2, y + 1);
      context.lineTo(x + 1, y + size - 2);
      context.stroke();
    }
    if (marked?.has(well)) {
      context.strokeStyle = style("--mark");
      context.lineWidth = Math.max(2, size / 5);
      context.strokeRect(x, y, size - gap, size - gap);
      context.lineWidth = 1;
    }
  }
}

function plateCanvas(number, plate, marked, size, told) {
  const wells = theWells(), [rows, columns] = wells.shape, name = wells.plates[plate].name;
  const what = number === null ? "layout of treatments" : wells.columns[number].name;
  const canvas = h("canvas", { tabindex: "0", role: "img", "aria-label": `Plate ${name}: ${what}. Arrow keys go from well to well.` });
  drawPlate(canvas, number, plate, marked, size);
  let at = wells.place[wells.byPlate[plate][0]] ?? 0;
  const wellAt = (place) => wells.byPlate[plate].find((well) => wells.place[well] === place);
  const tell = (place, where) => {
    const well = wellAt(place);
    told(well === undefined ? `${name} ${wellName(place)}: not in the study` : wellText(well, number), where);
  };
  const placeOf = (event) => {
    const box = canvas.getBoundingClientRect();
    return Math.min(rows - 1, Math.floor((event.clientY - box.top) / box.height * rows)) * 64 + Math.min(columns - 1, Math.floor((event.clientX - box.left) / box.width * columns));
  };
  canvas.addEventListener("mousemove", (event) => tell(placeOf(event), event));
  canvas.addEventListener("mouseleave", () => told("", null));
  canvas.addEventListener("click", (event) => openWell(wellAt(placeOf(event))));
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (event.key === "Enter") openWell(wellAt(at));
    if (!step) return;
    event.preventDefault();
    at = Math.min(Math.max(Math.floor(at / 64) + step[0], 0), rows - 1) * 64 + Math.min(Math.max(at % 64 + step[1], 0), columns - 1);
    const box = canvas.getBoundingClientRect();
    tell(at, { clientX: box.left + (at % 64 + 0.5) / columns * box.width, clientY: box.top + (Math.floor(at / 64) + 0.5) / rows * box.height });
  });
  return canvas;
}
function openWell(well) {
  if (well === undefined) return;
  const treatment = theWells().treatment[well];
  if (treatment !== NONE) location.hash = `#t=${treatment}`;
}

function legend(number) {
  if (number === null) {
    return h("div", { class: "legend" }, ...Object.entries(KINDS).map(([kind, text]) => h("span", {}, h("i", { style: `background:${KIND_COLOURS[kind]};border:1px solid var(--line)` }), text)));
  }
  const { low, high, name } = theWells().columns[number];
  const ramp = Array.from({ length: 10 }, (_, i) => viridis(i / 9)).join(",");
  return h("div", { class: "legend" }, h("span", {}, shown(low)), h("i", { class: "ramp", style: `background:linear-gradient(90deg,${ramp})` }), h("span", {}, `${shown(high)} ${name}`), h("span", { class: "soft" }, "crossed: no value"));
}

function columnChoice(first, label, changed) {
  const wells = theWells(), groups = new Map();
  wells.columns.forEach((each, i) => groups.set(each.group, [...(groups.get(each.group) ?? []), h("option", { value: i }, each.name)]));
  const select = h("select", { "aria-label": label, onchange: () => changed(select.value) }, ...first.map(([value, text]) => h("option", { value }, text)),
    ...[...groups].map(([group, options]) => h("optgroup", { label: group }, ...options)));
  return select;
}

const MANY_PLATES = 12;
function platesWidget(holder) {
  const wells = theWells();
  if (!wells) return;
  let number = null, all = wells.plates.length <= MANY_PLATES;
  const grid = h("div", { class: "plates" }), scale = h("div");
  const draw = () => {
    const plates = [...wells.plates.keys()].slice(0, all ? undefined : MANY_PLATES);
    grid.replaceChildren(...plates.map((plate) => h("figure", { class: "plate" }, plateCanvas(number, plate, null, 12, tooltip), h("figcaption", {}, wells.plates[plate].name, h("span", { class: "soft" }, ` ${wells.plates[plate].batch}`)))));
    scale.replaceChildren(legend(number));
    more.hidden = all;
  };
  const more = h("button", { type: "button", class: "more", onclick: () => { all = true; draw(); } }, `Show all ${wells.plates.length} plates`);
  const choice = columnChoice([["", "layout of treatments"]], "What the plate maps show", (value) => { number = value === "" ? null : Number(value); draw(); });
  holder.append(h("div", { class: "tools" }, h("label", {}, "Show ", choice), scale), grid, more);
  draw();
  redrawOnTheme(draw);
}

/** One line of text beside the pointer, or beside the well that the keyboard is at; read out by screen readers. */
function tooltip(text, where) {
  const tip = document.getElementById("tip");
  tip.textContent = text;
  tip.hidden = !text;
  if (!text) return;
  const width = tip.offsetWidth;
  tip.style.left = `${Math.min(where.clientX + 14, window.innerWidth - width - 8)}px`;
  tip.style.top = `${where.clientY + 16}px`;
}
