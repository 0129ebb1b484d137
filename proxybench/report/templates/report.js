"use strict";
const FEW = 10; // rows that need no filter

// A cell that spans rows would tear when they move or go: each row gets its own.
const split = (body) => {
  for (const row of body.rows) {
    for (const cell of [...row.cells]) {
      const spanned = cell.rowSpan;
      cell.rowSpan = 1;
      if (cell.scope === "rowgroup") cell.scope = "row";
      for (let below = row.nextElementSibling, left = spanned - 1; left > 0; left -= 1) {
        below.insertBefore(cell.cloneNode(true), below.cells[cell.cellIndex] ?? null);
        below = below.nextElementSibling;
      }
    }
  }
};

for (const table of document.querySelectorAll("table.full, table.pivot")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const key = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.sort ?? cell.textContent.trim();
  };
  heads.forEach((head, column) => {
    head.setAttribute("aria-sort", "none");
    head.tabIndex = 0;
    const sort = () => {
      split(body);
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].sort((a, b) => {
        const [x, y] = [key(a, column), key(b, column)];
        const [p, q] = [Number(x), Number(y)];
        const order = Number.isNaN(p) || Number.isNaN(q) ? x.localeCompare(y) : p - q;
        return down ? -order : order;
      });
      body.append(...rows);
    };
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => {
      if (event.key === "Enter") sort();
    });
  });
  if (body.rows.length < FEW) continue;
  const filter = document.createElement("input");
  filter.className = "filter";
  filter.type = "search";
  filter.placeholder = "Show only rows with …";
  filter.setAttribute("aria-label", "Show only rows with these words");
  filter.addEventListener("input", () => {
    split(body);
    const words = filter.value.toLowerCase().split(/\s+/);
    for (const row of body.rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
  });
  table.closest(".scroll").before(filter);
}
