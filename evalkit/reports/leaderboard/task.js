const known = all(document, ".task tbody tr").map((row) => {
  const board = row.closest(".board");
  return { row, board, text: `${row.querySelector(".name").textContent} ${board.dataset.title}`.toLowerCase() };
});
function filter() {
  const wanted = words(), runs = $("runs").checked, live = new Set();
  let n = 0;
  for (const { row, board, text } of known) {
    row.hidden = !(wanted.every((w) => text.includes(w)) && !(runs && row.classList.contains("paper")));
    if (!row.hidden) { n += 1; for (let e = board; e && e !== document.body; e = e.parentElement) live.add(e); }
  }
  for (const e of all(document, ".task .board,.data")) e.hidden = !live.has(e);
  document.querySelector(".contents").hidden = wanted.length > 0;
  $("count").textContent = `${n} of ${known.length} rows`;
}
$("extra").addEventListener("input", () => document.body.classList.toggle("every", $("extra").checked));
// The row or table in the address is shown, whatever the filter was.
window.addEventListener("hashchange", () => {
  const place = $(fragment());
  if (!place || place.checkVisibility()) return;
  $("text").value = ""; $("runs").checked = false;
  filter();
  place.scrollIntoView();
});
filter();
