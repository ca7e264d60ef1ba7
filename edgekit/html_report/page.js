"use strict";
// Draws the charts, paints them in the reader's scheme, and sorts tables.

const dark = window.matchMedia("(prefers-color-scheme: dark)");
const print = window.matchMedia("print");

// Bokeh draws axes and labels on a canvas, where style sheets do not reach: their colours are set here.
function paint(chart) {
  const style = getComputedStyle(document.documentElement);
  const [text, faint, line] = ["--text", "--faint", "--line"].map((name) => style.getPropertyValue(name).trim());
  for (const model of chart.references()) {
    const kind = model.type;
    if (kind.endsWith("Axis")) {
      model.setv({ axis_label_text_color: faint, major_label_text_color: text });
    } else if (kind === "Grid") {
      model.setv({ grid_line_color: line });
    } else if (kind === "Legend") {
      model.setv({ label_text_color: text, background_fill_color: null, border_line_color: null });
    } else if (kind === "ColorBar") {
      model.setv({ title_text_color: faint, major_label_text_color: text });
    } else if (model.tags.includes("ink")) {
      const target = kind === "GlyphRenderer" ? model.glyph : model;
      const wanted = { line_color: text, text_color: text };
      if (model.tags.includes("ink-fill")) { wanted.fill_color = text; }
      for (const [name, value] of Object.entries(wanted)) {
        if (name in target.properties) { target.setv({ [name]: value }); }
      }
    }
  }
}

const charts = [];
for (const item of JSON.parse(document.getElementById("chart-items").textContent)) {
  Bokeh.embed.embed_item(item).then((views) => {
    const model = (views.roots ? [...views.roots] : [...views])[0].model;
    charts.push(model);
    paint(model);
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
