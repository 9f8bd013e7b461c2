// What every part of the page uses: elements made of data (never of HTML text), numbers for people, packed arrays.

/** An element with attributes and children; text is text, whatever it holds. */
function h(tag, attributes = {}, ...children) {
  const svg = ["svg", "path", "line", "circle", "rect", "text", "g", "title"].includes(tag);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** The JSON of a script element, read once. */
const read = (() => {
  const kept = new Map();
  return (id) => {
    if (!kept.has(id)) {
      const element = document.getElementById(id);
      kept.set(id, element ? JSON.parse(element.textContent) : null);
    }
    return kept.get(id);
  };
})();

/** A number as `page.number` of the platform writes it. */
function shown(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "string") return value || "–";
  let text;
  if (Number.isInteger(value)) text = value.toLocaleString("en-US");
  else if (Math.abs(value) >= 10 ** digits - 0.5) text = Math.round(value).toLocaleString("en-US");
  else if (Math.abs(value) >= 1e-3) text = value.toPrecision(digits);
  else {
    const [mantissa, exponent] = value.toExponential(1).split("e");
    text = `${mantissa}e${Number(exponent)}`;
  }
  return text.replaceAll("-", "−");
}

/** Uint16 numbers from base64, little-endian. */
function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Uint16Array(bytes.buffer);
}

const NONE = 65535;

/** Viridis (van der Walt and Smith), from 0 to 1. */
const STOPS = [[68, 1, 84], [72, 40, 120], [62, 74, 137], [49, 104, 142], [38, 130, 142], [31, 158, 137], [53, 183, 121],
  [109, 205, 89], [180, 222, 44], [253, 231, 37]];
function viridis(share) {
  const at = Math.min(Math.max(share, 0), 1) * (STOPS.length - 1), low = Math.floor(at), rest = at - low;
  const mixed = STOPS[low].map((part, i) => Math.round(part + rest * ((STOPS[low + 1] ?? STOPS[low])[i] - part)));
  return `rgb(${mixed.join(",")})`;
}

// Okabe and Ito's colours, which people with any colour vision can tell apart.
const GROUPS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8a6d3b", "#7a5195", "#3f7f93", "#b8860b"];
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** A file to keep, made here. */
function download(name, text) {
  const link = h("a", { href: URL.createObjectURL(new Blob(["\ufeff", text], { type: "text/csv;charset=utf-8" })), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
