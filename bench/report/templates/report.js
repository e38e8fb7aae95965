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

// Columns that do not fit beside those that name a row are shown in turn, so that no table scrolls sideways.
for (const item of document.querySelectorAll(".table")) {
  const box = item.querySelector(".scroll"), table = box.querySelector("table");
  const rows = [...table.rows], headers = [...rows[0].cells], naming = Number(table.dataset.naming);
  const pages = document.createElement("span"), place = document.createElement("span");
  let groups = [], shown = 0, width = 0;

  const turn = (label, text, step) => {
    const button = Object.assign(document.createElement("button"), {type: "button", textContent: text});
    button.setAttribute("aria-label", label);
    button.addEventListener("click", () => show((shown + step + groups.length) % groups.length));
    return button;
  };
  pages.className = "pages";
  pages.append(turn("columns before", "\u2039", -1), place, turn("columns after", "\u203a", 1));
  item.querySelector(".tools a").before(pages);

  function hide(column, hidden) {
    for (const row of rows) row.cells[column].hidden = hidden;
  }

  function show(group) {
    shown = group;
    const here = groups[group];
    for (let column = naming; column < headers.length; column++) hide(column, !here.includes(column));
    pages.hidden = groups.length < 2;
    place.textContent = `columns ${here[0] + 1} to ${here.at(-1) + 1} of ${headers.length}`;
  }

  function fit() {
    if (!box.clientWidth || box.clientWidth === width) return;
    width = box.clientWidth;
    headers.forEach((_, column) => hide(column, false));
    const widths = headers.map(header => header.getBoundingClientRect().width);
    const room = width - widths.slice(0, naming).reduce((sum, one) => sum + one, 0);
    const cards = getComputedStyle(table).display !== "table";
    groups = [[]];
    for (let column = naming, left = room; column < headers.length; column++) {
      if (!cards && widths[column] > left && groups.at(-1).length) {
        groups.push([]);
        left = room;
      }
      groups.at(-1).push(column);
      left -= widths[column];
    }
    if (!groups[0].length) return;
    for (let group = 0; group < groups.length; group++) {
      show(group);
      while (!cards && box.scrollWidth > box.clientWidth && groups[group].length > 1) {  // columns alone may be wider
        if (group === groups.length - 1) groups.push([]);
        groups[group + 1].unshift(groups[group].pop());
        show(group);
      }
    }
    show(0);
  }

  pages.hidden = true;
  new ResizeObserver(fit).observe(box);
}
document.documentElement.classList.add("scripted");
