"use strict";
(function () {
const $ = (id) => document.getElementById(id);
const all = (root, selector) => Array.from(root.querySelectorAll(selector));
document.body.classList.add("scripted");
$("filters").hidden = false;
document.querySelector(".keys").hidden = false;

// A heading sorts its table: best first, worst first, then the original order.
for (const table of all(document, "table")) {
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

// Filters.
const known = all(document, ".task tbody tr").map((row) => {
  const board = row.closest(".board");
  return { row, board, task: row.closest(".task").dataset.task, text: `${row.querySelector(".name").textContent} ${board.dataset.title}`.toLowerCase() };
});
function filter() {
  const task = $("task").value, words = $("text").value.toLowerCase().split(/\s+/).filter(Boolean), runs = $("runs").checked;
  const live = new Set();
  let n = 0;
  for (const { row, board, task: rowTask, text } of known) {
    const shown = (!task || rowTask === task) && words.every((w) => text.includes(w)) && !(runs && row.classList.contains("paper"));
    row.hidden = !shown;
    if (shown) { n += 1; for (let e = board; e && e !== document.body; e = e.parentElement) live.add(e); }
  }
  for (const e of all(document, ".task,.task .board,.data")) e.hidden = !live.has(e);
  for (const e of all(document, ".overviews,.contents")) e.hidden = Boolean(task || words.length);
  $("count").textContent = `${n} of ${known.length} rows`;
}
for (const id of ["task", "text", "runs"]) $(id).addEventListener("input", filter);
$("filters").addEventListener("submit", (event) => event.preventDefault());
$("extra").addEventListener("input", () => document.body.classList.toggle("every", $("extra").checked));
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !["INPUT", "SELECT"].includes(event.target.tagName)) { event.preventDefault(); $("text").focus(); }
  if (event.key === "Escape" && event.target === $("text")) { $("text").value = ""; filter(); $("text").blur(); }
});
// One overview at a time.
const choice = $("overview-choice"), tables = all(document, ".overview");
function choose() { tables.forEach((e, k) => { e.hidden = String(k) !== choice.value; }); }
if (choice) { choice.parentElement.hidden = false; choice.addEventListener("change", choose); choose(); }
// A link to a task shows it, whatever the filter was.
window.addEventListener("hashchange", () => open(decodeURIComponent(location.hash.slice(1))));
function open(name) {
  if (!Array.from($("task").options).some((o) => o.value === name)) return;
  $("task").value = name;
  filter();
  window.scrollTo(0, 0);
}
// An address with #TASK shows that task.
filter();
open(decodeURIComponent(location.hash.slice(1)));
})();
