// Cells of a treatment beside the controls of its plate: every stain grey or in its colour, and all together.

const STAINS = { DNA: [64, 115, 255], ER: [26, 217, 89], RNA: [242, 217, 51], AGP: [255, 115, 26], Mito: [242, 38, 102] };
const OTHERS = [[51, 217, 230], [217, 102, 242], [204, 204, 204]];
const colourOf = (name, i) => STAINS[name] ?? OTHERS[i % OTHERS.length];

function picture(kind, text) {
  return new Promise((done, fail) => {
    const image = new Image();
    image.onload = () => done(image);
    image.onerror = () => fail(new Error("a picture cannot be read"));
    image.src = `data:image/${kind};base64,${text}`;
  });
}

/** One row of cells: a stain in its colour, or all stains screened together. */
function drawRow(canvas, shot, images, row, outlines) {
  const { side, channels } = shot, width = shot.near.length * side;
  canvas.width = width;
  canvas.height = side;
  const context = canvas.getContext("2d");
  const rows = row === null ? channels.map((_, i) => i) : [row];
  context.fillStyle = "#000";
  context.fillRect(0, 0, width, side);
  for (const i of rows) {
    const layer = document.createElement("canvas");
    layer.width = width;
    layer.height = side;
    const ink = layer.getContext("2d");
    ink.drawImage(images.grey, 0, i * side, width, side, 0, 0, width, side);
    ink.globalCompositeOperation = "multiply";
    ink.fillStyle = `rgb(${colourOf(channels[i], i).join(",")})`;
    ink.fillRect(0, 0, width, side);
    context.globalCompositeOperation = "screen";
    context.drawImage(layer, 0, 0);
  }
  context.globalCompositeOperation = "source-over";
  if (outlines) context.drawImage(images.lines, 0, 0);
  context.fillStyle = "#fff";
  for (let i = 1; i < shot.near.length; i += 1) context.fillRect(i * side - 0.5, 0, 1, side);
  const half = shot.near.indexOf("extreme");
  if (half > 0) context.fillRect(half * side - 2, 0, 4, side);
  if (row === null) scaleBar(context, shot, width);
}

/** A bar of a round length at the lower right, in µm where the size of a pixel is known. */
function barLength(shot) {
  const wanted = 0.45 * shot.side * (shot.micrometres ?? 1);
  const power = 10 ** Math.floor(Math.log10(wanted)), round = [5, 2, 1].map((part) => part * power).find((part) => part <= wanted);
  return { pixels: round / (shot.micrometres ?? 1), text: `${shown(round)} ${shot.micrometres ? "µm" : "px"}` };
}
function scaleBar(context, shot, width) {
  const { pixels } = barLength(shot);
  context.fillRect(width - 4 - pixels, shot.side - 6, pixels, 3);
}

function strip(shot, title, redraws) {
  const head = h("h4", {}, title);
  const rows = [null, ...shot.channels.keys()].map((row) => {
    const name = row === null ? "all stains" : shot.channels[row];
    const canvas = h("canvas", { role: "img", "aria-label": `${title}: ${name}; ${shot.near.length} cells, the first ones near the median of the well, the others near its extreme` });
    const ink = row === null ? "" : `background:rgb(${colourOf(name, row).join(",")})`;
    return { row, canvas, line: h("div", { class: "stain" }, h("span", { class: "name" }, row === null ? null : h("i", { style: ink }), name), canvas) };
  });
  const half = shot.near.indexOf("extreme");
  const labels = h("div", { class: "stain ends" }, h("span", { class: "name" }, `bar: ${barLength(shot).text}`),
    h("div", { class: "halves" }, h("span", {}, "near the median"), half > 0 ? h("span", {}, "near the extreme") : null));
  Promise.all([picture("webp", shot.picture), picture("png", shot.outlines)]).then(([grey, lines]) => {
    const redraw = (outlines) => rows.forEach(({ row, canvas }) => drawRow(canvas, shot, { grey, lines }, row, outlines));
    redraw(false);
    redraws.push(redraw);
    head.closest(".cells")?.classList.add("drawn");
  });
  return h("div", { class: "strip" }, head, ...rows.map(({ line }) => line), labels);
}

/** The montage of a treatment and, beside it, that of the controls of its plate. */
function cellsOf(shots, label) {
  if (!shots.length) return h("p", { class: "soft" }, "No pictures: the cells of this treatment were not imaged here, or its wells hold too few of them.");
  const redraws = [];
  const box = h("input", { type: "checkbox", onchange: () => redraws.forEach((redraw) => redraw(box.checked)) });
  return h("div", { class: "cells" }, h("label", { class: "switch" }, box, "Outlines of nuclei (cyan) and cells (white)"),
    h("div", { class: "strips" }, ...shots.map((shot) => strip(shot, `${shot.control ? "Control" : label}: ${shot.plate} ${shot.well}, site ${shot.site}`, redraws))),
    h("p", { class: "soft" }, "Each stain has one contrast in both pictures, by the controls of the plate. Left half: cells nearest to the median of the well; right half: nearest to its far end, in the direction in which the treatment moves cells."));
}
