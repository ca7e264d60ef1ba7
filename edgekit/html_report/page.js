"use strict";
// Draws the charts, paints them in the reader's scheme, sorts and filters tables.

const dark = window.matchMedia("(prefers-color-scheme: dark)");
const print = window.matchMedia("print");

// Bokeh draws axes and labels on a canvas, where style sheets do not reach: their colours are set here.
function paint(view) {
  const style = getComputedStyle(document.documentElement);
  const [text, faint, line] = ["--text", "--faint", "--line"].map((name) => style.getPropertyValue(name).trim());
  for (const model of view.model.references()) {
    const kind = model.type;
    if (kind.endsWith("Axis")) {
      model.setv({ axis_label_text_color: faint, major_label_text_color: text });
    } else if (kind === "Grid") {
      model.setv({ grid_line_color: line });
    } else if (kind === "ColorBar") {
      model.setv({ title_text_color: faint, major_label_text_color: text });
    } else if (model.tags.includes("ink")) {
      for (const name of ["line_color", "text_color"]) {
        if (name in model.properties) { model.setv({ [name]: text }); }
      }
    }
  }
  // At once, and not in the next frame: a printer does not wait.
  view.repaint();
}

const charts = [];
for (const item of JSON.parse(document.getElementById("chart-items").textContent)) {
  Bokeh.embed.embed_item(item).then((views) => {
    // Beside the figure, Bokeh gives each document a root for its notifications.
    const drawn = [...views.roots].filter((view) => "repaint" in view);
    drawn.forEach(paint);
    charts.push(...drawn);
    document.documentElement.dataset.charts = String(charts.length);
  });
}
function paintAll() { charts.forEach(paint); }
dark.addEventListener("change", paintAll);
print.addEventListener("change", paintAll);

function sortBy(table, column, descending) {
  const body = table.tBodies[0];
  const numeric = table.tHead.rows[0].cells[column].classList.contains("number");
  const keyed = [...body.rows].map((row) => {
    const order = row.cells[column].dataset.order;
    return { row, key: order === undefined ? null : numeric ? Number(order) : order };
  });
  keyed.sort((a, b) => {
    // What has no figure stays at the end, whichever way the rest is sorted.
    if (a.key === null || b.key === null) { return (a.key === null) - (b.key === null); }
    const order = a.key < b.key ? -1 : a.key > b.key ? 1 : 0;
    return descending ? -order : order;
  });
  body.append(...keyed.map((item) => item.row));
}

for (const heading of document.querySelectorAll("thead th")) {
  heading.querySelector("button").addEventListener("click", () => {
    const before = heading.getAttribute("aria-sort");
    // Of figures a reader wants the largest first.
    const descending = before === "none" ? heading.classList.contains("number") : before === "ascending";
    for (const other of heading.parentElement.cells) { other.setAttribute("aria-sort", "none"); }
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
    sortBy(heading.closest("table"), heading.cellIndex, descending);
  });
}

const LONG_TABLE = 20;

// Long tables get a field above them: a row stays where each word stands somewhere in it.
for (const table of document.querySelectorAll("table")) {
  const rows = [...table.tBodies[0].rows];
  if (rows.length < LONG_TABLE) { continue; }
  const words = rows.map((row) => row.textContent.toLowerCase());
  const field = document.createElement("input");
  const count = document.createElement("output");
  field.type = "search";
  field.placeholder = "Filter rows";
  field.setAttribute("aria-label", `Filter rows of: ${table.caption.textContent}`);
  field.addEventListener("input", () => {
    const wanted = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, i) => {
      row.hidden = !wanted.every((word) => words[i].includes(word));
      shown += row.hidden ? 0 : 1;
    });
    count.textContent = wanted.length ? `${shown} of ${rows.length} rows` : "";
  });
  const place = document.createElement("p");
  place.className = "filter";
  place.append(field, " ", count);
  table.closest(".scroll").before(place);
}

// The report of a row is made when somebody wants to see it: a thousand of them would be a heavy page.
const dialog = document.getElementById("report");
function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}
function tableOf([caption, titles, rows], texts) {
  const table = document.createElement("table");
  table.append(element("caption", texts[caption]));
  const head = table.createTHead().insertRow();
  for (const title of titles) {
    const cell = element("th", texts[title]);
    cell.scope = "col";
    head.append(cell);
  }
  const body = table.createTBody();
  for (const row of rows) {
    const line = body.insertRow();
    row.forEach((number, i) => line.append(element(i ? "td" : "th", texts[number])));
    line.cells[0].scope = "row";
  }
  const scroll = document.createElement("div");
  scroll.className = "scroll";
  scroll.append(table);
  return scroll;
}
if (dialog) {
  const { texts, rows } = JSON.parse(document.getElementById("row-reports").textContent);
  document.getElementById("rows").addEventListener("click", (event) => {
    const button = event.target.closest("[data-report]");
    if (!button) { return; }
    const [title, message, command, tables] = rows[button.dataset.report];
    dialog.querySelector("h2").textContent = texts[title];
    const parts = texts[message] ? [element("pre", texts[message])] : [];
    parts.push(...tables.map((table) => tableOf(table, texts)));
    if (texts[command]) { parts.push(element("p", "Export it alone, beside its task file:"), element("pre", texts[command])); }
    dialog.querySelector("div").replaceChildren(...parts);
    dialog.showModal();
  });
}
