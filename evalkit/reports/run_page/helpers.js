// What the page of a run and the list of runs share: elements, numbers as text, tables that sort, CSV, the address.
const $ = (id) => document.getElementById(id);

// Text is set as text and never as markup: an answer that is a script tag does nothing.
function el(tag, text, cls) {
  const e = document.createElement(tag);
  if (text !== undefined && text !== null) e.textContent = text;
  if (cls) e.className = cls;
  return e;
}
function svg(tag, at) {
  const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const k in at) e.setAttribute(k, at[k]);
  return e;
}
function choices(select, list) {
  for (const [value, text] of list) {
    const o = el("option", text);
    o.value = value;
    select.append(o);
  }
}
const none = (v) => v === null || v === undefined;
const percent = (v) => none(v) ? "–" : (100 * v).toFixed(2);
const shown = (v, points) => none(v) ? "–" : points ? v.toFixed(2) : percent(v);
const range = (low, high, points) => none(low) ? "–" : `[${shown(low, points)}, ${shown(high, points)}]`;
// A table whose headings sort.  Cells: text, a number with its `text`, or an element; `sort` is the compared value.
// order: the heading that sorts (-1: none) and whether upwards; `changed` is called after a click.
function sortable(table, heads, rows, order = { by: -1, up: false, changed() {} }) {
  let { by, up } = order;
  function fill() {
    table.textContent = "";
    const head = el("tr"), body = el("tbody"), sorted = rows.slice();
    heads.forEach((name, k) => {
      const th = el(name ? "th" : "td"), b = el("button", name + (by === k ? (up ? " ▲" : " ▼") : ""), "sort");
      b.type = "button";
      b.addEventListener("click", () => { up = by === k ? !up : k < 2; by = k; fill(); again(k); order.changed(by, up); });
      if (name === "") th.className = "drawn";
      if (name) th.scope = "col";
      if (by === k) th.setAttribute("aria-sort", up ? "ascending" : "descending");
      if (name) th.append(b);
      head.append(th);
    });
    const than = (x, y) => typeof x === "number" || typeof y === "number" ? (x ?? -Infinity) - (y ?? -Infinity) : String(x ?? "").localeCompare(String(y ?? ""));
    if (by >= 0) sorted.sort((a, b) => (up ? 1 : -1) * than(a.cells[by].sort, b.cells[by].sort));
    let last = null;
    for (const row of sorted) {
      const tr = el("tr");
      if (row.title) tr.title = row.title;
      if (row.id) tr.id = row.id;
      if (row.cells[0].sort !== last) tr.className = "first";
      last = row.cells[0].sort;
      row.cells.forEach((cell, k) => {
        const td = el("td", cell.text, cell.cls || (cell.drawn || heads[k] === "" ? "drawn" : ""));
        // On a narrow screen the protocol is above its first metric.
        if (k === 1) td.dataset.group = last;
        if (cell.drawn) td.append(cell.drawn);
        tr.append(td);
      });
      body.append(tr);
    }
    const thead = el("thead");
    thead.append(head);
    table.append(thead, body);
  }
  // The clicked heading was made anew, and keeps the focus.
  function again(k) { table.tHead.rows[0].cells[k].querySelector("button").focus(); }
  fill();
}
const cell = (sort, text, cls) => ({ sort, text: text === undefined ? sort ?? "" : text, cls });

// Comma-separated values for a spreadsheet: a text that it would read as a formula starts with an apostrophe.
function csv(rows) {
  const field = (v) => {
    const text = typeof v === "string" && /^[=+\-@\t\r]/.test(v) && isNaN(v) ? "'" + v : String(v ?? "");
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return rows.map((row) => row.map(field).join(",")).join("\n") + "\n";
}
// Put a table on the clipboard; `said` is the element that tells how many rows, or why not.
async function copyRows(rows, said) {
  try {
    await navigator.clipboard.writeText(csv(rows));
    said.textContent = `${rows.length - 1} rows copied`;
  } catch (problem) {
    said.textContent = `not copied: ${problem.message}`;
  }
}

// The part of the address after `#`, as names and values; it is written a moment later, as browsers limit how often.
const addressed = () => Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
let addressTimer = 0;
function address(values) {
  clearTimeout(addressTimer);
  addressTimer = setTimeout(() => {
    const kept = Object.entries(values).filter(([, v]) => v !== "" && v !== null && v !== undefined);
    history.replaceState(null, "", `#${new URLSearchParams(kept)}`);
  }, 150);
}
