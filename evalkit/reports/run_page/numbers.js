// Everything above the samples: numbers, baselines, differences, protocols, slices.  D: the content of the page.
const R = D.runs.length;
const whole = (run) => run.metrics.filter((m) => m.slice === "all");
const keyOf = (m) => `${m.protocol} ${m.metric}`;
// The name of a metric where its key does not say what it is; what is shown of a key, and of its metric alone.
const labels = new Map(D.runs.flatMap((r) => r.metrics).filter((m) => m.label).map((m) => [keyOf(m), m.label]));
const metricText = (key) => labels.get(key) ?? key.split(" ").slice(1).join(" ");
const keyText = (key) => `${key.split(" ")[0]} ${metricText(key)}`;
// Metrics of which lower is better, and a value of a metric turned so that higher is better.
const lowerIsBetter = new Set(D.runs.flatMap(whole).filter((m) => m.higher_is_better === false).map(keyOf));
// The model of a run; its number as well where two runs are of one model.
const nameOf = (k) => D.runs.filter((r) => r.model === D.runs[k].model).length > 1 ? `${k + 1}: ${D.runs[k].model}` : D.runs[k].model;
// A box that scrolls is reached by the keyboard.
function scrolls(box, label) {
  box.tabIndex = 0;
  box.setAttribute("role", "region");
  box.setAttribute("aria-label", label);
}
const quality = (key, v) => typeof v === "number" && lowerIsBetter.has(key) ? 1 - v : v;

function about() {
  for (const [k, r] of D.runs.entries()) {
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
    if (R > 1) $("about").append(el("h2", nameOf(k)));
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
      why.append(el("p", `${of}${keyText(keyOf(u))}: ${u.count} unscored: ${u.reason}`, "note"));
    }
  }
  if (new Set(D.runs.map((r) => r.image)).size > 1) $("notes").append(el("p", `the pictures are those of ${D.runs[0].model} (${D.runs[0].image})`, "note"));
  why.hidden = !reasons;
  why.firstElementChild.textContent = `Reasons for unscored samples (${reasons})`;
}

// What is known once the answers are read.
function remarks() {
  for (const text of D.remarks) $("notes").append(el("p", text, "note"));
  D.left_out.forEach((n, k) => {
    if (n) $("notes").append(el("p", `${n} samples of ${D.runs[k].model} are not in every run and not listed below`, "note"));
  });
  D.wordy.forEach((said, k) => { if (said) $("wordy").append(el("p", R > 1 ? `${D.runs[k].model}: ${said}` : said, "note")); });
  if (D.wordy.some(Boolean)) $("baselines").hidden = false;
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

// The effective number of clusters, where so few carry the rows that the interval is marked.
const few = (x) => (x.n_effective != null && x.n_effective < 20 ? ` eff ${x.n_effective.toFixed(1)}` : "");

function numbers() {
  const heads = ["protocol", "metric"];
  // Side by side the columns of unscored samples take the place of the next run's values: only where there are any.
  const someUnscored = R === 1 || D.runs.some((r) => whole(r).some((m) => m.n_unscored));
  D.runs.forEach((r, k) => heads.push(`${R > 1 ? nameOf(k) + " " : ""}value`, "95 % interval", "", "n", ...(someUnscored ? ["unscored", "worst case"] : [])));
  if (!someUnscored) $("notes").append(el("p", "every sample is scored in each of these runs", "keys"));
  const rows = whole(D.runs[0]).map((m) => {
    const cells = [cell(m.protocol), cell(metricText(keyOf(m)))], signatures = [];
    for (const r of D.runs) {
      const x = whole(r).find((o) => keyOf(o) === keyOf(m)) || {};
      signatures.push(x.signature || "");
      cells.push(cell(x.value, shown(x.value, x.points)), cell(x.low, range(x.low, x.high, x.points) + few(x)));
      cells.push({ sort: x.value, drawn: x.points ? null : whisker(x.value, x.low, x.high, 0, 1) });
      cells.push(cell(x.n));
      if (!someUnscored) continue;
      cells.push(cell(x.n_unscored, x.n_unscored, x.n_unscored ? "odd" : ""));
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
  const box = $("paired-of");
  for (const { run, pairs, incomparable } of D.differences) {
    if (R > 2) box.append(el("h3", `${nameOf(run)} minus ${nameOf(0)}`));
    if (incomparable) box.append(el("p", incomparable, "note"));
    if (pairs.length) box.append(...pairedTable(run, pairs));
  }
}
function pairedTable(run, pairs) {
  const most = Math.max(.01, ...pairs.flatMap((d) => [Math.abs(d[4] ?? d[3]), Math.abs(d[5] ?? d[3])]));
  const rows = pairs.map(([key, one, two, delta, low, high, n, worse, better, higherIsBetter, oneTable, twoTable]) => {
    const [protocol] = key.split(" ");
    const [gain, loss] = higherIsBetter ? ["good", "bad"] : ["bad", "good"];
    const cls = none(low) ? "" : low > 0 ? gain : high < 0 ? loss : "";
    const cells = [cell(protocol), cell(metricText(key)), beside(oneTable, one), beside(twoTable, two)];
    cells.push(cell(delta, (delta > 0 ? "+" : "") + percent(delta), cls), cell(low, range(low, high)));
    cells.push({ sort: delta, drawn: whisker(delta, low, high, -most, most) }, cell(worse), cell(better), cell(n));
    return { cells, title: "difference of the worst cases: an unscored sample counts as the worst score in its run" };
  });
  const parts = [], wide = el("div", undefined, "wide"), table = el("table", undefined, "paired");
  if (pairs.some((d) => d[1] !== d[10] || d[2] !== d[11])) parts.push(el("p", "first and second are the values of the runs' tables; in the worst case an unscored sample counts as the worst score, and the differences are of the worst cases", "keys"));
  if (run === 1) table.id = "paired";
  scrolls(wide, `differences of ${nameOf(run)} from ${nameOf(0)}`);
  wide.append(table);
  sortable(table, ["protocol", "metric", "first", "second", "difference", "95 % interval", "", "worse", "better", "n"], rows);
  return [...parts, wide];
}

// Values of image-blind baselines on the same samples, with the run's lift over each.
function baselines() {
  const rows = D.runs.flatMap((r, k) => (r.baselines || []).map((b) => {
    const cells = [cell(b.protocol), cell(metricText(keyOf(b))), cell(b.baseline), cell(b.value, percent(b.value))];
    const sure = none(b.low) ? "" : b.low > 0 ? "good" : b.high < 0 ? "bad" : "odd";
    cells.push(cell(b.lift, (b.lift > 0 ? "+" : "") + percent(b.lift), sure), cell(b.low, range(b.low, b.high)));
    return { cells: R > 1 ? [cell(nameOf(k)), ...cells] : cells };
  }));
  const heads = ["protocol", "metric", "baseline", "baseline's value", "lift of the run", "95 % interval"];
  $("baselines").hidden = !rows.length;
  if (rows.length) sortable($("lifts"), R > 1 ? ["run", ...heads] : heads, rows);
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

// A forest plot of one metric over the slices; the runs of a slice are below each other, each in its colour and shape.
function forest(key, W) {
  const found = new Map();
  D.runs.forEach((run, k) => run.metrics.forEach((m) => {
    if (keyOf(m) !== key || !(m.n > 0)) return;
    if (!found.has(m.slice)) found.set(m.slice, []);
    found.get(m.slice).push([k, m]);
  }));
  const rows = [...found], all = rows.flatMap(([, of]) => of.map(([, m]) => m)), points = all.some((m) => m.points);
  const step = R > 1 ? 14 : 20, h = R > 1 ? step * R + 10 : step, left = Math.min(230, .46 * W), right = 62;
  const top = Math.max(1, ...all.map((m) => m.high ?? m.value ?? 0)), letters = Math.floor(left / 6.8) - 6;
  const s = svg("svg", { viewBox: `0 0 ${W} ${rows.length * h + 26}`, class: "forest", role: "img", "aria-label": `${keyText(key)} by slice, ${D.runs.map((r) => r.model).join(", ")}` });
  const x = (v) => left + v / top * (W - left - right);
  const say = (text, at) => { const t = svg("text", at); t.textContent = text; s.append(t); };
  for (let g = 0; g <= 4; g++) {
    const v = top * g / 4;
    s.append(svg("line", { x1: x(v), x2: x(v), y1: 16, y2: rows.length * h + 18, "stroke-opacity": .25 }));
    say(points ? v.toFixed(1) : (100 * v).toFixed(0), { x: x(v), y: 11, "text-anchor": "middle" });
  }
  rows.forEach(([slice, of], place) => {
    const n = of[0][1].n;
    say(`${slice.length > letters ? "…" + slice.slice(1 - letters) : slice} (${n})`, { x: left - 8, y: 34 + place * h + (h - step) / 2, "text-anchor": "end" });
    of.forEach(([k, m], line) => {
      const y = 30 + place * h + line * step, row = svg("g", { class: `run r${k}` }), title = svg("title", {});
      title.textContent = `${R > 1 ? nameOf(k) + ", " : ""}${m.slice}: ${shown(m.value, m.points)} ${range(m.low, m.high, m.points)}, n ${m.n}, ${m.n_unscored} unscored`;
      row.append(title);
      if (!none(m.low)) row.append(svg("line", { x1: x(Math.max(0, m.low)), x2: x(m.high), y1: y, y2: y, class: "range" }));
      if (!none(m.value)) row.append(shape(k, x(m.value), y));
      s.append(row);
      say(shown(m.value, m.points) + (m.n_unscored ? "*" : ""), { x: W - right + 12, y: y + 4 });
    });
  });
  return s;
}
// The mark of a run: runs differ in shape as well as in colour.
function shape(k, x, y) {
  if (k % 3 === 0) return svg("circle", { cx: x, cy: y, r: 4 });
  const path = k % 3 === 1 ? `M${x - 4},${y - 4}h8v8h-8z` : `M${x},${y - 5}l5,9h-10z`;
  return svg("path", { d: path });
}
function slices() {
  const keys = whole(D.runs[0]).filter((m) => m.n > 0).map(keyOf);
  choices($("slice-metric"), keys.map((k) => [k, keyText(k)]));
  function draw() {
    const box = $("slices"), key = $("slice-metric").value;
    box.textContent = "";
    if (R > 1) box.append(runLegend());
    box.append(forest(key, Math.max(320, Math.min(640, box.clientWidth))));
    if (D.runs.some((r) => r.metrics.some((m) => keyOf(m) === key && m.n_unscored))) box.append(el("p", "* some rows are unscored and not in the value", "keys"));
  }
  $("slice-metric").addEventListener("change", draw);
  window.addEventListener("resize", draw);
  draw();
}
function runLegend() {
  const line = el("p", undefined, "keys");
  D.runs.forEach((r, k) => {
    const s = svg("svg", { viewBox: "0 0 14 14", class: "swatch", "aria-hidden": "true" }), g = svg("g", { class: `run r${k}` });
    g.append(shape(k, 7, 7));
    s.append(g);
    line.append(s, ` ${nameOf(k)}  `);
  });
  return line;
}
// The numbers of the runs, without slices.
const rowsOfNumbers = () => [
  ["run", "protocol", "metric", "value", "low", "high", "n", "unscored", "signature", "metric_label"],
  ...D.runs.flatMap((r) => whole(r).map((m) => [r.run_id, m.protocol, m.metric, m.value, m.low, m.high, m.n, m.n_unscored, m.signature, m.label ?? m.metric])),
];
