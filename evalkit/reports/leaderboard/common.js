"use strict";
const $ = (id) => document.getElementById(id);
const all = (root, selector) => Array.from(root.querySelectorAll(selector));
document.body.classList.add("scripted");
$("filters").hidden = false;
document.querySelector(".keys").hidden = false;

// A heading of a column sorts its table: best first, worst first, then the original order.
for (const table of all(document, "table:has(tbody tr)")) {
  const body = table.tBodies[0], original = Array.from(body.rows), heads = Array.from(table.tHead.rows[0].cells);
  heads.forEach((head, position) => {
    if (head.classList.contains("place")) return;
    const button = document.createElement("button"), numeric = head.classList.contains("number");
    button.type = "button"; button.className = "sort"; button.textContent = head.textContent;
    head.textContent = ""; head.append(button); head.setAttribute("aria-sort", "none");
    const first = numeric && head.dataset.best !== "lowest" ? "descending" : "ascending";
    const second = first === "ascending" ? "descending" : "ascending";
    button.addEventListener("click", () => {
      const now = head.getAttribute("aria-sort"), next = now === "none" ? first : now === first ? second : "none";
      for (const other of heads) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", next);
      const sign = next === "ascending" ? 1 : -1;
      const rows = original.slice();
      if (next !== "none") rows.sort((a, b) => numeric ? byNumber(a.cells[position], b.cells[position], sign) : sign * nameOf(a).localeCompare(nameOf(b)));
      body.append(...rows);
    });
  });
}
// A row without a value is last in both directions.
function byNumber(a, b, sign) {
  const x = a.dataset.order, y = b.dataset.order;
  return x === "" || y === "" ? (x === "") - (y === "") : sign * (Number(x) - Number(y));
}
function nameOf(row) { return row.querySelector(".model").textContent; }

// The text of the address after #; what is no such text is none.
function fragment() {
  try { return decodeURIComponent(location.hash.slice(1)); } catch { return ""; }
}
function words() { return $("text").value.toLowerCase().split(/\s+/).filter(Boolean); }

// Each page says what filter() does.
for (const id of ["text", "runs"]) $(id).addEventListener("input", () => filter());
$("filters").addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/" && !["INPUT", "SELECT"].includes(event.target.tagName)) { event.preventDefault(); $("text").focus(); }
  if (event.key === "Escape" && event.target === $("text")) { $("text").value = ""; filter(); $("text").blur(); }
});
