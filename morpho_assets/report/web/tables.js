// Tables: sorted by any column, filtered by any text, shown in pages, taken along as CSV.

const PAGE_ROWS = 50;

/** Text for a spreadsheet; what would be run as a formula there is kept as text. */
function csvField(value) {
  if (value === null || value === undefined) return "";
  let text = String(value);
  if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** `data`: columns [{name, numeric, digits, link}], rows of plain values, caption, file; the elements are made here. */
function makeTable(data, holder) {
  const state = { column: null, down: false, filter: "", rows: PAGE_ROWS };
  const texts = data.rows.map((row) => row.map((value) => (value === null ? "" : String(value))).join("\u0001").toLowerCase());
  const order = data.rows.map((_, i) => i);
  const status = h("span", { class: "count", "aria-live": "polite" });
  const filter = h("input", { type: "search", placeholder: "Filter", "aria-label": `Filter: ${data.caption}`,
    oninput: () => { state.filter = filter.value.trim().toLowerCase(); state.rows = PAGE_ROWS; draw(); } });
  const save = h("button", { type: "button", class: "csv", onclick: () => download(data.file, csv()) }, "Download CSV");
  const more = h("button", { type: "button", class: "more", onclick: () => { state.rows = state.rows === PAGE_ROWS ? 1000 : Infinity; draw(); } });
  const texted = (i) => data.rows.slice(0, 500).map((row) => String(row[i] ?? ""));
  const longest = data.columns.map((_, i) => Math.max(0, ...texted(i).map((text) => text.length)));
  const word = data.columns.map((_, i) => Math.max(0, ...texted(i).flatMap((text) => text.split(/[\s-]+/)).map((text) => text.length)));
  const heads = data.columns.map((column, i) => h("th", { scope: "col", class: column.numeric ? "number" : null },
    h("button", { type: "button", onclick: () => sort(i) }, column.name)));
  const body = h("tbody");
  const table = h("table", {}, h("thead", {}, h("tr", {}, ...heads)), body);

  function chosen() {
    const words = state.filter.split(/\s+/).filter(Boolean);
    return order.filter((i) => words.every((word) => texts[i].includes(word)));
  }
  function csv() {
    const lines = [data.columns.map((column) => column.name), ...chosen().map((i) => data.rows[i])];
    return lines.map((row) => row.map(csvField).join(",")).join("\r\n") + "\r\n";
  }
  function sort(column) {
    const first = data.columns[column].numeric;
    state.down = state.column === column ? !state.down : first;
    state.column = column;
    const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b
      : String(a).localeCompare(String(b), "en", { numeric: true }));
    order.sort((i, j) => {
      const [a, b] = [data.rows[i][column], data.rows[j][column]];
      if (a === null || a === "") return b === null || b === "" ? i - j : 1;
      if (b === null || b === "") return -1;
      return (state.down ? -1 : 1) * compare(a, b) || i - j;
    });
    heads.forEach((head, i) => i === column ? head.setAttribute("aria-sort", state.down ? "descending" : "ascending") : head.removeAttribute("aria-sort"));
    draw();
  }
  function cell(value, column) {
    const text = column.numeric ? shown(value, column.digits) : shown(value);
    const link = column.link && value !== null ? treatmentLink(value) : null;
    return h("td", { class: column.numeric ? "number" : null }, link ? h("a", { href: link }, text) : text);
  }
  function draw() {
    const found = chosen(), visible = found.slice(0, state.rows);
    body.replaceChildren(...visible.map((i) => h("tr", {}, ...data.rows[i].map((value, c) => cell(value, data.columns[c])))));
    status.textContent = found.length === data.rows.length ? `${shown(found.length)} rows` : `${shown(found.length)} of ${shown(data.rows.length)} rows`;
    more.hidden = visible.length === found.length;
    more.textContent = `Show ${shown(Math.min(found.length, state.rows === PAGE_ROWS ? 1000 : Infinity))} rows`;
  }
  draw();
  const tools = h("div", { class: "tools" }, filter, status, save);
  const scroll = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": data.caption }, table);
  holder.replaceChildren(h("p", {}, data.caption), tools, scroll, more);
  // Text columns are as wide as their texts as long as no column is cut off; then they wrap, at last within a word.
  const tries = [true, false].flatMap((whole) => [20, 16, 13, 11, 9, 7, 5, 3].map((widest) => [widest, whole]));
  const width = (i, widest, whole) => Math.max(Math.min(widest, longest[i]), whole ? 2 + 1.1 * Math.min(word[i], 28) : 0);
  new ResizeObserver(() => {
    for (const [widest, whole] of tries) {
      holder.classList.toggle("tight", widest <= 5);
      heads.forEach((head, i) => { if (!data.columns[i].numeric) head.style.minWidth = `${width(i, widest, whole)}ch`; });
      if (scroll.scrollWidth <= scroll.clientWidth || (scroll.clientWidth < 600 && widest <= 11)) break;
    }
  }).observe(scroll);
  return holder;
}

function startTables() {
  for (const holder of document.querySelectorAll(".table[data-rows]")) makeTable(read(holder.dataset.rows), holder);
}
