// The page of one treatment: what it is, its cells, what it moves, what is like it, and what to beware of.

function treatmentLink(value) {
  const found = treatmentNumber(value);
  return found === undefined ? null : `#t=${found}`;
}
let numbers = null;
/** The number of a treatment by its key or its label. */
function treatmentNumber(value) {
  if (!numbers) {
    numbers = new Map();
    (read("index") ?? []).forEach(({ l, i }, number) => { numbers.set(l, number); numbers.set(i, number); });
  }
  return numbers.get(value);
}

function block(title, ...children) {
  return h("section", { class: "block" }, h("h3", {}, title), ...children);
}
function tableOf(caption, columns, rows, file) {
  return makeTable({ caption, columns: columns.map((name) => (typeof name === "string" ? { name } : name)), rows, file }, h("div", { class: "table" }));
}
const numeric = (name, digits = 3) => ({ name, numeric: true, digits });

function structureOf(drawing) {
  if (!drawing) return null;
  const { box, lines, filled, letters } = drawing;
  return h("svg", { viewBox: `0 0 ${box[0]} ${box[1]}`, class: "structure", role: "img", "aria-label": "structure of the compound" },
    h("path", { d: lines, fill: "none", stroke: "currentColor", "stroke-width": 1.3, "stroke-linecap": "round" }),
    h("path", { d: filled, fill: "currentColor" }),
    ...letters.map(([x, y, anchor, size, text]) => h("text", { x, y, "text-anchor": anchor, "font-size": size, fill: "currentColor" }, text)));
}

/** Response over dose on a logarithmic axis, with the controls' band, the curve and the benchmark dose. */
function doseChart(dose, label) {
  const width = 560, height = 300, left = 52, right = 16, top = 14, bottom = 44, points = dose.points.filter(([at]) => at > 0);
  if (!points.length) return h("p", { class: "soft" }, "No dose above zero is known.");
  const doses = points.map(([at]) => Math.log10(at)), low = Math.min(...doses) - 0.3, high = Math.max(...doses) + 0.3;
  const values = points.flatMap(([, mean, from, to]) => [mean, from, to]).filter((value) => value !== null);
  const floor = Math.min(-2.2, ...values), roof = Math.max(2.4, ...values) * 1.06;
  const x = (at) => left + (at - low) / (high - low) * (width - left - right);
  const y = (value) => height - bottom - (value - floor) / (roof - floor) * (height - top - bottom);
  const parts = [h("rect", { x: left, width: width - left - right, y: y(1.96), height: y(-1.96) - y(1.96), class: "band" }), h("line", { x1: left, x2: width - right, y1: y(0), y2: y(0), class: "zero" })];
  if (dose.benchmark_dose !== null) {
    const from = x(Math.max(low, Math.log10(dose.benchmark_dose_low ?? 10 ** low))), to = x(Math.min(high, Math.log10(dose.benchmark_dose_high ?? 10 ** high)));
    parts.push(h("rect", { x: from, width: Math.max(to - from, 1), y: top, height: height - top - bottom, class: "interval" }), h("line", { x1: x(Math.log10(dose.benchmark_dose)), x2: x(Math.log10(dose.benchmark_dose)), y1: top, y2: height - bottom, class: "benchmark" }));
  }
  if (dose.active && dose.top !== null && dose.ec50 !== null && dose.slope !== null) {
    const curve = Array.from({ length: 81 }, (_, i) => { const at = low + i / 80 * (high - low); return `${i ? "L" : "M"}${x(at).toFixed(1)},${y(dose.top / (1 + (dose.ec50 / 10 ** at) ** dose.slope)).toFixed(1)}`; });
    parts.push(h("path", { d: curve.join(""), class: "curve" }));
  }
  for (const [at, mean, from, to, wells] of points) {
    const across = x(Math.log10(at));
    if (from !== null && to !== null) parts.push(h("line", { x1: across, x2: across, y1: y(from), y2: y(to), class: "range" }));
    if (mean !== null) parts.push(h("circle", { cx: across, cy: y(mean), r: 4.5, class: dose.active ? "acts" : "rests" }, h("title", {}, `${shown(at)} ${dose.unit}: ${shown(mean)} SD over ${wells} wells`)));
    parts.push(h("text", { x: across, y: height - bottom + 18, "text-anchor": "middle" }, shown(at, 2)));
  }
  for (let value = Math.ceil(floor / 2) * 2; value <= roof; value += Math.max(2, 2 * Math.ceil((roof - floor) / 16))) parts.push(h("text", { x: left - 8, y: y(value) + 4, "text-anchor": "end" }, shown(value)));
  parts.push(h("text", { x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }, `dose ${dose.unit ? `(${dose.unit})` : "(as in the platemap)"}`), h("text", { x: 13, y: height / 2, transform: `rotate(-90 13 ${height / 2})`, "text-anchor": "middle" }, "distance from controls (SD)"));
  const said = points.map(([at, mean]) => `${shown(at)}: ${shown(mean)}`).join("; ");
  return h("svg", { viewBox: `0 0 ${width} ${height}`, class: "dose", role: "img", "aria-label": `Response of ${label} by dose, in SD of the controls: ${said}` }, ...parts);
}
function doseBlock(dose, label) {
  const interval = (value, low, high) => `${shown(value)} ${dose.unit} (95 %: ${low === null ? "open" : shown(low)} to ${high === null ? "open" : shown(high)})`;
  const words = dose.active === null ? `No curve was asked for: ${dose.flags || "too few doses"}.`
    : dose.potent ? `Benchmark dose ${interval(dose.benchmark_dose, dose.benchmark_dose_low, dose.benchmark_dose_high)}${dose.ec50 === null ? "" : `, EC50 ${interval(dose.ec50, dose.ec50_low, dose.ec50_high)}`}; q ${shown(dose.q_value)}.`
      : `No potency: ${dose.active ? "it acts, but no tested dose is the benchmark" : "its responses do not follow the dose"} (q ${shown(dose.q_value)}).`;
  return block("Dose response", h("p", {}, words, dose.flags && dose.active !== null ? ` Beware: ${dose.flags}.` : ""), doseChart(dose, label),
    h("p", { class: "soft" }, `Dots are means over the wells of a dose, lines their range, in the space ${dose.variant}. The grey band holds 95 % of controls (±1.96 SD); red: the benchmark dose with its interval.`));
}

function showTreatment(number) {
  const index = read("index"), entry = index?.[number], record = read(`t${number}`);
  const view = document.getElementById("treatment");
  if (!entry || !record) {
    view.replaceChildren(h("p", {}, "There is no such treatment in this report. ", h("a", { href: "#top" }, "Back to the report")));
    return;
  }
  const wells = theWells(), mine = record.wells, marked = new Set(mine), label = entry.l;
  const plates = [...new Set(mine.map((well) => wells.plate[well]))];
  const controls = [...new Set(record.cells.map(({ plate }) => plate))].map((plate) => read(`c-${plate}`)).filter(Boolean);
  const facts = h("dl", { class: "facts" }, ...record.facts.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
  const back = h("nav", { class: "crumbs", "aria-label": "Where this is" }, h("a", { href: "#top" }, "Report"), " › ", h("span", {}, label));
  const step = (by, text) => index[number + by] ? h("a", { href: `#t=${number + by}` }, text) : null;
  const said = record.said.length ? h("ul", { class: "said" }, ...record.said.map((line) => h("li", {}, line))) : null;
  view.replaceChildren(back, h("h1", { tabindex: "-1" }, label), h("p", { class: "lead answer" }, record.answer),
    h("div", { class: "twofold" }, facts, structureOf(record.structure) ?? h("p", { class: "soft" }, record.noStructure)),
    block("Its cells beside the controls", cellsOf([...record.cells, ...controls], label)),
    block("What it moves", said ?? h("p", { class: "soft" }, "No feature that has words was measured."), record.moved.length ? tableOf("The features that moved most, in SD of the plate's controls: mean over its wells, and their spread",
      ["in words", "feature", "compartment", "stain", numeric("mean"), numeric("spread")], record.moved, `${entry.i}-features.csv`) : null),
    block("Where its wells lie", h("div", { class: "plates" }, ...plates.slice(0, 24).map((plate) => h("figure", { class: "plate small" }, plateCanvas(null, plate, marked, 8, tooltip), h("figcaption", {}, wells.plates[plate].name)))),
      plates.length > 24 ? h("p", { class: "soft" }, `The first 24 of ${plates.length} plates.`) : null, legend(null),
      tableOf("Its wells, and what was flagged or failed in them", ["plate", "well", numeric("cells"), numeric("failed sites"), numeric("flagged sites"), "what"],
        record.notes, `${entry.i}-wells.csv`)),
    block("In every space", tableOf("How well its replicates find each other, beside chance", ["space", "evaluator", numeric("mAP"), numeric("chance"), numeric("p"), numeric("q"), "retrieved"], record.spaces, `${entry.i}-spaces.csv`)),
    record.dose ? doseBlock(read(`d${record.dose.of}`) , record.dose.label) : null,
    record.near.length ? block("Nearest treatments", tableOf(record.nearCaption, [{ name: "treatment", link: true }, numeric("cosine"), "targets", "retrieved"], record.near, `${entry.i}-nearest.csv`)) : null,
    record.phenotypes.length ? block("Phenotypes", tableOf("Whether it makes cells of a phenotype more or fewer, called on wells", ["model", "phenotype", numeric("effect"), numeric("q"), "called", numeric("wells")], record.phenotypes, `${entry.i}-phenotypes.csv`)) : null,
    h("p", { class: "crumbs" }, step(-1, "‹ previous"), " ", step(1, "next ›")));
}
