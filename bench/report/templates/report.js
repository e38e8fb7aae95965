"use strict";

// A number in data-value sorts before a text, and what is missing comes last in both directions.
function place(row, column) {
  const cell = row.cells[column];
  if (cell.classList.contains("missing")) return [2, 0];
  return "value" in cell.dataset ? [0, Number(cell.dataset.value)] : [1, cell.textContent];
}

function compare(one, other, sign) {
  if (one[0] !== other[0] || one[0] === 2) return one[0] - other[0];
  return sign * (one[0] === 0 ? one[1] - other[1] : one[1].localeCompare(other[1], "en", {numeric: true}));
}

for (const item of document.querySelectorAll(".table")) {
  const body = item.querySelector("tbody");
  const rows = [...body.rows];
  const headers = [...item.querySelectorAll("thead th")];
  const filter = item.querySelector("input");
  const count = item.querySelector("output");

  for (const row of rows) headers.forEach((header, column) => { row.cells[column].dataset.label = header.textContent; });

  headers.forEach((header, column) => header.querySelector("button").addEventListener("click", () => {
    const next = {none: "ascending", ascending: "descending", descending: "none"}[header.getAttribute("aria-sort")];
    const sign = next === "descending" ? -1 : 1;
    for (const each of headers) each.setAttribute("aria-sort", each === header ? next : "none");
    const sorted = [...rows];
    if (next !== "none") sorted.sort((a, b) => compare(place(a, column), place(b, column), sign));
    body.append(...sorted);
  }));

  filter.addEventListener("input", () => {
    const words = filter.value.toLowerCase().split(/\s+/);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every(word => text.includes(word));
    }
    const shown = rows.filter(row => !row.hidden).length;
    count.value = shown === rows.length ? count.defaultValue : `${shown} of ${count.defaultValue}`;
  });
}
document.documentElement.classList.add("scripted");
