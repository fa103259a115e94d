// Helpers, and everything above the samples: numbers, differences, protocols, slices.
const D = JSON.parse(document.getElementById("data").textContent);
const N = D.ids.length, R = D.runs.length;
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
const whole = (run) => run.metrics.filter((m) => m.slice === "all");
const keyOf = (m) => `${m.protocol} ${m.metric}`;
// Metrics of which lower is better, and a value of a metric turned so that higher is better.
const lowerIsBetter = new Set(D.runs.flatMap(whole).filter((m) => m.higher_is_better === false).map(keyOf));
const quality = (key, v) => typeof v === "number" && lowerIsBetter.has(key) ? 1 - v : v;

function about() {
  for (const r of D.runs) {
    const box = el("dl");
    const put = (name, value, cls) => {
      const both = el("div");
      both.append(el("dt", name), el("dd", String(value ?? "–"), cls));
      box.append(both);
    };
    put("run", r.run_id);
    put("samples", `${r.n} on ${r.n_images} images, ${r.split}` + (r.limit ? `, limited to ${r.limit}` : ""));
    put("prompt", r.prompt);
    put("generation", r.generation);
    put("image", r.image, r.image === "original" ? "" : "odd");
    put("closed rule", r.closed_rule);
    put("failed", r.n_failed, r.n_failed ? "bad" : "");
    put("empty", r.n_empty);
    put("truncated", r.n_truncated, r.n_truncated ? "odd" : "");
    if (r.n_skipped) put("skipped rows", r.n_skipped, "odd");
    if (r.timing && r.timing.samples_per_second) put("speed", `${r.timing.samples_per_second} samples a second`);
    put("data", (r.data_sha256 || "").slice(0, 8));
    put("evalkit", r.evalkit);
    if (R > 1) $("about").append(el("h2", r.model));
    $("about").append(box);
  }
}

function notes() {
  const why = $("why");
  let reasons = 0;
  for (const r of D.runs) {
    const of = R > 1 ? `${r.model}: ` : "";
    for (const n of r.notes || []) $("notes").append(el("p", of + n, "note"));
    for (const u of r.unscored || []) {
      reasons += 1;
      why.append(el("p", `${of}${u.protocol} ${u.metric}: ${u.count} unscored: ${u.reason}`, "note"));
    }
  }
  D.left_out.forEach((n, k) => {
    if (n) $("notes").append(el("p", `${n} samples of ${D.runs[k].model} are not in the other run and not listed below`, "note"));
  });
  if (new Set(D.runs.map((r) => r.image)).size > 1) $("notes").append(el("p", `the pictures are those of ${D.runs[0].model} (${D.runs[0].image})`, "note"));
  why.hidden = !reasons;
  why.firstElementChild.textContent = `Reasons for unscored samples (${reasons})`;
}

// An interval on a line from `from` to `to`.
function whisker(value, low, high, from, to) {
  const s = svg("svg", { viewBox: "0 0 120 14", class: "whisker", "aria-hidden": "true" });
  const x = (v) => 4 + 112 * Math.min(1, Math.max(0, (v - from) / (to - from)));
  s.append(svg("line", { x1: 4, x2: 116, y1: 7, y2: 7, "stroke-opacity": .3 }));
  if (from < 0) s.append(svg("line", { x1: x(0), x2: x(0), y1: 1, y2: 13 }));
  if (!none(low)) s.append(svg("line", { x1: x(low), x2: x(high), y1: 7, y2: 7, class: "range" }));
  if (!none(value)) s.append(svg("circle", { cx: x(value), cy: 7, r: 3 }));
  return s;
}

// A table whose headings sort.  Cells: text, a number with its `text`, or an element; `sort` is the compared value.
function sortable(table, heads, rows) {
  let by = -1, up = false;
  function fill() {
    table.textContent = "";
    const head = el("tr"), body = el("tbody"), order = rows.slice();
    heads.forEach((name, k) => {
      const th = el("th"), b = el("button", name + (by === k ? (up ? " ▲" : " ▼") : ""), "sort");
      b.type = "button";
      b.addEventListener("click", () => { up = by === k ? !up : k < 2; by = k; fill(); });
      if (name === "") th.className = "drawn";
      if (by === k) th.setAttribute("aria-sort", up ? "ascending" : "descending");
      th.append(b);
      head.append(th);
    });
    const than = (x, y) => typeof x === "number" || typeof y === "number" ? (x ?? -Infinity) - (y ?? -Infinity) : String(x ?? "").localeCompare(String(y ?? ""));
    if (by >= 0) order.sort((a, b) => (up ? 1 : -1) * than(a.cells[by].sort, b.cells[by].sort));
    let last = null;
    for (const row of order) {
      const tr = el("tr");
      tr.title = row.title;
      if (row.cells[0].sort !== last) tr.className = "first";
      last = row.cells[0].sort;
      row.cells.forEach((cell, k) => {
        const td = el("td", cell.text, cell.drawn || heads[k] === "" ? "drawn" : cell.cls);
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
  fill();
}
const cell = (sort, text, cls) => ({ sort, text: text === undefined ? sort ?? "" : text, cls });

// The effective number of clusters, where so few carry the rows that the interval is marked.
const few = (x) => (x.n_effective != null && x.n_effective < 20 ? ` eff ${x.n_effective.toFixed(1)}` : "");

function numbers() {
  const heads = ["protocol", "metric"];
  for (const r of D.runs) heads.push(`${R > 1 ? r.model + " " : ""}value`, "95 % interval", "", "n", "unscored", "worst case");
  const rows = whole(D.runs[0]).map((m) => {
    const cells = [cell(m.protocol), cell(m.metric)], signatures = [];
    for (const r of D.runs) {
      const x = whole(r).find((o) => keyOf(o) === keyOf(m)) || {};
      signatures.push(x.signature || "");
      cells.push(cell(x.value, shown(x.value, x.points)), cell(x.low, range(x.low, x.high, x.points) + few(x)));
      cells.push({ sort: x.value, drawn: x.points ? null : whisker(x.value, x.low, x.high, 0, 1) });
      cells.push(cell(x.n), cell(x.n_unscored, x.n_unscored, x.n_unscored ? "odd" : ""));
      cells.push(cell(x.value_worst_case, x.n_unscored ? `${shown(x.value_worst_case, x.points)} ${range(x.low_worst_case, x.high_worst_case, x.points)}` : ""));
    }
    return { cells, title: signatures.join("\n") };
  });
  sortable($("numbers"), heads, rows);
}

// The value of a run's table and, where unscored samples make it another one, the worst case.
const beside = (table, worst) => cell(table, table === worst ? percent(table) : `${percent(table)} (worst case ${percent(worst)})`);
function differences() {
  if (R < 2) return;
  $("differences").hidden = false;
  if (D.incomparable) $("differences").append(el("p", D.incomparable, "note"));
  if (!D.differences.length) return;
  const most = Math.max(.01, ...D.differences.flatMap((d) => [Math.abs(d[4] ?? d[3]), Math.abs(d[5] ?? d[3])]));
  const rows = D.differences.map(([key, one, two, delta, low, high, n, worse, better, higherIsBetter, oneTable, twoTable]) => {
    const [protocol, ...metric] = key.split(" ");
    const [gain, loss] = higherIsBetter ? ["good", "bad"] : ["bad", "good"];
    const cls = none(low) ? "" : low > 0 ? gain : high < 0 ? loss : "";
    const cells = [cell(protocol), cell(metric.join(" ")), beside(oneTable, one), beside(twoTable, two)];
    cells.push(cell(delta, (delta > 0 ? "+" : "") + percent(delta), cls), cell(low, range(low, high)));
    cells.push({ sort: delta, drawn: whisker(delta, low, high, -most, most) }, cell(worse), cell(better), cell(n));
    return { cells, title: "difference of the worst cases: an unscored sample counts as the worst score in its run" };
  });
  if (D.differences.some((d) => d[1] !== d[10] || d[2] !== d[11])) $("differences").append(el("p", "first and second are the values of the runs' tables; in the worst case an unscored sample counts as the worst score, and the differences are of the worst cases", "keys"));
  sortable($("paired"), ["protocol", "metric", "first", "second", "difference", "95 % interval", "", "worse", "better", "n"], rows);
}

// The matrix of protocols, and for each two of them the answers that they score differently, by cause.
function protocols(show) {
  if (!D.lens) return;
  $("lens").hidden = false;
  const head = el("tr"), body = el("tbody");
  head.append(el("th", "protocol"));
  for (const c of D.lens.columns) head.append(el("th", c));
  for (const r of D.lens.rows) {
    const tr = el("tr");
    tr.append(el("td", r.protocol));
    for (const c of D.lens.columns) {
      const x = r[c], td = el("td", x ? percent(x.value) + (x.n_unscored ? "*" : "") : "");
      if (x) td.title = `${x.metric}, ${range(x.low, x.high)}, n ${x.n}, ${x.n_unscored} unscored`;
      tr.append(td);
    }
    body.append(tr);
  }
  $("matrix").append(head, body);
  D.lens.differences.forEach((d, k) => choices($("pair"), [[k, `${d.column}: ${d.first} / ${d.second} (${d.n})`]]));
  function causes() {
    const box = $("causes"), d = D.lens.differences[$("pair").value];
    box.textContent = "";
    for (const c of d ? d.causes : []) {
      const more = el("details");
      more.append(el("summary", `${c.n} ${c.cause}`), el("p", D.lens.causes[c.cause], "keys"));
      for (const e of c.examples) {
        const line = el("p", undefined, "note"), to = el("button", e.sample_id, "link");
        to.type = "button";
        to.addEventListener("click", () => show(e.sample_id));
        line.append(to, ` ${e.question} [${e.reference}] → ${e.answer} (${d.first}: ${e.first}, ${d.second}: ${e.second})`);
        more.append(line);
      }
      box.append(more);
    }
  }
  $("pair").addEventListener("change", causes);
  causes();
}

// A forest plot of one metric over the slices, each run's after the other.
function forest(run, key, W) {
  const rows = run.metrics.filter((m) => keyOf(m) === key && m.n > 0);
  const top = Math.max(1, ...rows.map((m) => m.high ?? m.value ?? 0)), left = Math.min(230, .46 * W), right = 62, h = 20;
  const letters = Math.floor(left / 6.8) - 6;
  const s = svg("svg", { viewBox: `0 0 ${W} ${rows.length * h + 26}`, class: "forest", role: "img", "aria-label": `${key} by slice, ${run.model}` });
  const x = (v) => left + v / top * (W - left - right);
  const say = (text, at) => { const t = svg("text", at); t.textContent = text; s.append(t); };
  for (let g = 0; g <= 4; g++) {
    const v = top * g / 4;
    s.append(svg("line", { x1: x(v), x2: x(v), y1: 16, y2: rows.length * h + 18, "stroke-opacity": .25 }));
    say(rows.some((m) => m.points) ? v.toFixed(1) : (100 * v).toFixed(0), { x: x(v), y: 11, "text-anchor": "middle" });
  }
  rows.forEach((m, k) => {
    const y = 30 + k * h, row = svg("g", {}), title = svg("title", {});
    title.textContent = `${m.slice}: ${shown(m.value, m.points)} ${range(m.low, m.high, m.points)}, n ${m.n}, ${m.n_unscored} unscored`;
    row.append(title);
    if (!none(m.low)) row.append(svg("line", { x1: x(Math.max(0, m.low)), x2: x(m.high), y1: y, y2: y, class: "range" }));
    if (!none(m.value)) row.append(svg("circle", { cx: x(m.value), cy: y, r: 4 }));
    s.append(row);
    say(`${m.slice.length > letters ? "…" + m.slice.slice(1 - letters) : m.slice} (${m.n})`, { x: left - 8, y: y + 4, "text-anchor": "end" });
    say(shown(m.value, m.points) + (m.n_unscored ? "*" : ""), { x: W - right + 12, y: y + 4 });
  });
  return s;
}
function slices() {
  const keys = whole(D.runs[0]).filter((m) => m.n > 0).map(keyOf);
  choices($("slice-metric"), keys.map((k) => [k, k]));
  function draw() {
    const box = $("slices"), key = $("slice-metric").value;
    box.textContent = "";
    for (const r of D.runs) {
      if (R > 1) box.append(el("h3", r.model));
      box.append(forest(r, key, Math.max(320, Math.min(640, box.clientWidth))));
    }
    if (D.runs.some((r) => r.metrics.some((m) => keyOf(m) === key && m.n_unscored))) box.append(el("p", "* some rows are unscored and not in the value", "keys"));
  }
  $("slice-metric").addEventListener("change", draw);
  window.addEventListener("resize", draw);
  draw();
}
