"use strict";
(function () {
const D = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const el = (tag, text, cls) => { const e = document.createElement(tag); if (text !== undefined) e.textContent = text; if (cls) e.className = cls; return e; };
const pct = (v) => v === null || v === undefined ? "–" : (100 * v).toFixed(2);
const N = D.ids.length, ROW = 58, R = D.runs.length;

// A score column holds a number, [reason] (unscored), [value, extracted, note], or null (not a row of the metric).
const valueOf = (s) => s === null || s === undefined ? undefined : typeof s === "number" ? s : s.length === 1 ? null : s[0];
const classOf = (v) => v === undefined ? "" : v === null ? "odd" : v >= 1 ? "good" : v <= 0 ? "bad" : "odd";
const metrics = Object.keys(D.scores[0]);

$("about").textContent = D.runs.map((r) => `${r.run_id}: ${r.n} samples on ${r.n_images} images, ${r.split}, closed by ${r.closed_rule}, prompt ${r.prompt}, ${r.generation}, image ${r.image}, failed ${r.n_failed}, empty ${r.n_empty}, truncated ${r.n_truncated}, evalkit ${r.evalkit}`).join(" · ");
for (const r of D.runs) {
  for (const n of r.notes || []) $("notes").append(el("p", n, "note"));
  for (const u of r.unscored || []) $("why").hidden = false, $("why").append(el("p", `${r.model}, ${u.protocol} ${u.metric}: ${u.count} unscored: ${u.reason}`, "note"));
}

// Numbers: one line a protocol and metric, sortable.
const heads = ["protocol", "metric"].concat(...D.runs.map((r) => [`${R > 1 ? r.model + " " : ""}value %`, "95 % interval", "n", "unscored", "if wrong %"]));
const whole = (r) => r.metrics.filter((m) => m.slice === "all");
const lines = whole(D.runs[0]).map((m) => {
  const line = [m.protocol, m.metric], sig = [];
  for (const r of D.runs) {
    const x = whole(r).find((o) => o.protocol === m.protocol && o.metric === m.metric) || {};
    sig.push(x.signature || "");
    line.push(x.value, x.low === null || x.low === undefined ? "–" : `[${pct(x.low)}, ${pct(x.high)}]`, x.n, x.n_unscored, x.n_unscored ? x.value_unscored_wrong : null);
  }
  return { line, sig: sig.join("\n") };
});
let sorted = -1, up = false;
function numbers() {
  const t = $("numbers"); t.textContent = "";
  const head = el("tr");
  heads.forEach((h, k) => {
    const th = el("th"), b = el("button", h + (sorted === k ? (up ? " ▲" : " ▼") : ""), "sort");
    b.type = "button"; b.addEventListener("click", () => { up = sorted === k ? !up : k < 2; sorted = k; numbers(); });
    th.append(b); head.append(th);
  });
  const th = el("thead"); th.append(head); t.append(th);
  const body = el("tbody"), order = lines.slice();
  if (sorted >= 0) order.sort((a, b) => { const x = a.line[sorted], y = b.line[sorted]; const c = typeof x === "number" || typeof y === "number" ? (x ?? -1) - (y ?? -1) : String(x).localeCompare(String(y)); return up ? c : -c; });
  let last = "";
  for (const { line, sig } of order) {
    const tr = el("tr"); tr.title = sig;
    if (line[0] !== last) tr.className = "first";
    last = line[0];
    line.forEach((v, k) => tr.append(el("td", k < 2 || (k - 2) % 5 === 1 ? v : (k - 2) % 5 === 0 || (k - 2) % 5 === 4 ? pct(v) : v ?? "–")));
    body.append(tr);
  }
  t.append(body);
}
numbers();

// Protocols: the matrix, and for each two of them the answers that they count differently, by cause.
if (D.lens) {
  $("lens").hidden = false;
  const head = el("tr"), body = el("tbody"); head.append(el("th", "protocol"));
  for (const c of D.lens.columns) head.append(el("th", c));
  for (const r of D.lens.rows) {
    const tr = el("tr"); tr.append(el("td", r.protocol));
    for (const c of D.lens.columns) { const x = r[c], td = el("td", x ? pct(x.value) + (x.n_unscored ? "*" : "") : ""); if (x) td.title = `${x.metric}, n ${x.n}, ${x.n_unscored} unscored`; tr.append(td); }
    body.append(tr);
  }
  $("matrix").append(head, body);
  D.lens.differences.forEach((d, k) => { const o = el("option", `${d.column}: ${d.first} / ${d.second} (${d.n})`); o.value = k; $("pair").append(o); });
  const causes = () => {
    const box = $("causes"), d = D.lens.differences[$("pair").value]; box.textContent = ""; if (!d) return;
    for (const c of d.causes) {
      const more = el("details"), what = el("summary", `${c.n} ${c.cause}`); what.title = D.lens.causes[c.cause]; more.append(what, el("p", D.lens.causes[c.cause], "keys"));
      for (const e of c.examples) more.append(el("p", `${e.sample_id}: ${e.question} [${e.reference}] → ${e.answer} (${d.first}: ${e.first}, ${d.second}: ${e.second})`, "note"));
      box.append(more);
    }
  };
  $("pair").addEventListener("change", causes); causes();
}

// Slices: a forest plot of one metric.
const NS = "http://www.w3.org/2000/svg";
const svg = (tag, at) => { const e = document.createElementNS(NS, tag); for (const k in at) e.setAttribute(k, at[k]); return e; };
function options(select, list) { for (const [v, t] of list) { const o = el("option", t); o.value = v; select.append(o); } }
options($("slice-metric"), metrics.map((m) => [m, m]));
function slices() {
  const box = $("slices"); box.textContent = "";
  const key = $("slice-metric").value;
  D.runs.forEach((r) => {
    const rows = r.metrics.filter((m) => `${m.protocol} ${m.metric}` === key && m.n > 0);
    const W = 640, left = 250, h = 20, s = svg("svg", { viewBox: `0 0 ${W} ${rows.length * h + 26}`, width: "100%", style: `max-width:${W * 1.3}px`, role: "img", "aria-label": `${key} by slice, ${r.model}` });
    const x = (v) => left + v * (W - left - 60);
    for (let g = 0; g <= 4; g++) { s.append(svg("line", { x1: x(g / 4), x2: x(g / 4), y1: 16, y2: rows.length * h + 18, "stroke-opacity": .25 })); const t = svg("text", { x: x(g / 4), y: 11, "text-anchor": "middle" }); t.textContent = 25 * g; s.append(t); }
    rows.forEach((m, k) => {
      const y = 30 + k * h, t = svg("text", { x: left - 8, y: y + 4, "text-anchor": "end" });
      t.textContent = `${m.slice.slice(0, 32)} (${m.n})`; s.append(t);
      if (m.low !== null && m.low !== undefined) s.append(svg("line", { x1: x(m.low), x2: x(m.high), y1: y, y2: y, "stroke-width": 2 }));
      if (m.value !== null) { s.append(svg("circle", { cx: x(m.value), cy: y, r: 4 })); const v = svg("text", { x: W - 52, y: y + 4 }); v.textContent = pct(m.value); s.append(v); }
    });
    if (R > 1) box.append(el("p", r.model, "keys"));
    box.append(s);
  });
}
$("slice-metric").addEventListener("change", slices); slices();

// Samples: filters over columns, a list that draws only what is in view.
const hay = D.ids.map((id, i) => [id, D.questions[i], D.references[i].join(" "), ...D.answers.map((a) => a[i][0] ?? a[i][1])].join("\n").toLowerCase());
options($("metric"), metrics.map((m) => [m, m]));
options($("outcome"), [["all", "all"], ["right", "right"], ["wrong", "wrong"], ["partly", "partly"], ["unscored", "unscored"], ["failed", "failed"], ["empty", "empty answers"], ["truncated", "truncated"], ["disagree", "protocols disagree"]].concat(R > 1 ? [["flipped", "runs differ"], ["worse", "second is worse"], ["better", "second is better"]] : []));
const slots = [["", "all"]]; if (D.types.some((t) => t)) D.tags.answer_type = D.tags.answer_type || D.types;
for (const t of Object.keys(D.tags)) { const seen = new Map(); for (const v of D.tags[t]) seen.set(v, (seen.get(v) || 0) + 1); for (const [v, n] of [...seen].sort()) if (v) slots.push([`${t}=${v}`, `${t}=${v} (${n})`]); }
options($("slice"), slots);
const val = (r, m, i) => { const c = D.scores[r][m]; return c ? valueOf(c[i]) : undefined; };
// Accuracies and exact matches of one row: protocols disagree when one says right and another wrong.
const verdicts = metrics.filter((m) => /accuracy|exact_match/.test(m));
function disagree(i) { let good = false, bad = false; for (const m of verdicts) { const v = val(0, m, i); if (v === 1) good = true; else if (v === 0) bad = true; } return good && bad; }
const tests = {
  all: () => true, right: (i, m) => val(0, m, i) >= 1, wrong: (i, m) => val(0, m, i) === 0, partly: (i, m) => { const v = val(0, m, i); return v > 0 && v < 1; },
  unscored: (i, m) => val(0, m, i) === null, failed: (i) => D.answers.some((a) => a[i][1] !== null), empty: (i) => D.answers.some((a) => a[i][0] !== null && !a[i][0].trim()),
  truncated: (i) => D.answers.some((a) => a[i][2] === "length"), disagree, flipped: (i, m) => val(0, m, i) !== val(1, m, i), worse: (i, m) => val(1, m, i) < val(0, m, i), better: (i, m) => val(1, m, i) > val(0, m, i),
};
let view = [], at = -1;
function filter() {
  const m = $("metric").value, test = tests[$("outcome").value], words = $("text").value.toLowerCase().trim(), [tag, ...rest] = $("slice").value.split("="), want = rest.join("="), column = tag ? D.tags[tag] : null, only = $("outcome").value !== "all";
  view = [];
  for (let i = 0; i < N; i++) {
    if (column && column[i] !== want) continue;
    if (only && !test(i, m)) continue;
    if (words && !hay[i].includes(words)) continue;
    view.push(i);
  }
  at = -1; $("detail").hidden = true; $("list").scrollTop = 0;
  $("count").textContent = `${view.length} of ${N}`;
  $("space").style.height = `${view.length * ROW}px`;
  draw();
}
function draw() {
  const list = $("list"), from = Math.max(0, Math.floor(list.scrollTop / ROW) - 3), to = Math.min(view.length, from + Math.ceil(list.clientHeight / ROW) + 8), m = $("metric").value;
  const w = $("window"); w.textContent = ""; w.style.top = `${from * ROW}px`;
  for (let k = from; k < to; k++) {
    const i = view[k], row = el("div", undefined, "row" + (k === at ? " on" : "")), text = el("div");
    row.setAttribute("role", "option"); row.setAttribute("aria-selected", k === at);
    row.append(el("span", undefined, "dot " + classOf(val(R - 1, m, i))));
    text.append(el("p", D.questions[i]), el("p", `${D.references[i].join(" / ")}  →  ${D.answers.map((a) => a[i][0] ?? "✗ " + a[i][1]).join("  |  ")}`));
    row.append(text); row.addEventListener("click", () => open(k)); w.append(row);
  }
}
let pending = false;
$("list").addEventListener("scroll", () => { if (!pending) { pending = true; requestAnimationFrame(() => { pending = false; draw(); }); } });
function boxes(text) { const found = /\{?\s*<\s*(\d+)\s*>\s*<\s*(\d+)\s*>\s*<\s*(\d+)\s*>\s*<\s*(\d+)\s*>/.exec(text || ""); return found && found.slice(1, 5).map(Number); }
function picture(src, i) {
  const holder = el("span", undefined, "picture"), img = el("img"); img.alt = `image ${D.image_ids[i]}`; img.src = src; holder.append(img);
  const gold = boxes(D.references[i][0]), sizes = D.sizes[D.pictures[i]];
  if (gold && sizes) {
    const s = svg("svg", { viewBox: `0 0 ${sizes[0]} ${sizes[1]}`, preserveAspectRatio: "none" });
    const add = (b, cls) => b && s.append(svg("rect", { x: Math.min(b[0], b[2]), y: Math.min(b[1], b[3]), width: Math.abs(b[2] - b[0]) + 1, height: Math.abs(b[3] - b[1]) + 1, class: "box " + cls }));
    add(gold, "gold"); D.answers.forEach((a) => add(boxes(a[i][0]), "pred")); holder.append(s);
  }
  return holder;
}
function open(k) {
  if (k < 0 || k >= view.length) return;
  at = k; const i = view[k], d = $("detail"); d.textContent = ""; d.hidden = false;
  const list = $("list"); if (k * ROW < list.scrollTop) list.scrollTop = k * ROW; else if ((k + 1) * ROW > list.scrollTop + list.clientHeight) list.scrollTop = (k + 1) * ROW - list.clientHeight;
  draw();
  d.append(el("h3", D.questions[i]));
  for (const src of D.images[D.pictures[i]] || []) d.append(picture(src, i));
  const facts = el("dl"), put = (a, b, cls) => { facts.append(el("dt", a), el("dd", b, cls)); };
  put("reference", D.references[i].join("\n")); put("sample", D.ids[i]); put("image", D.image_ids[i]);
  for (const t of Object.keys(D.tags)) if (D.tags[t][i]) put(t, D.tags[t][i]);
  d.append(facts);
  const pair = el("div", undefined, "pair"); d.append(pair);
  D.runs.forEach((r, n) => {
    const side = el("div"), dl = el("dl"), [text, error, finish, seconds] = D.answers[n][i], say = (a, b, cls) => { dl.append(el("dt", a), el("dd", b, cls)); };
    if (R > 1) side.append(el("h3", r.model));
    if (error !== null) say("failed", error, "odd"); else say("answer", text === "" ? "(empty)" : text);
    say("finish", finish); if (seconds !== null) say("seconds", String(seconds));
    for (const m of metrics) {
      const s = D.scores[n][m] && D.scores[n][m][i], v = valueOf(s); if (v === undefined) continue;
      const more = v === null ? `unscored: ${s[0]}` : pct(v) + (Array.isArray(s) ? ` ${[s[1] && "read: " + s[1], s[2]].filter(Boolean).join("; ")}` : "");
      say(m, more, /_rate$/.test(m) ? "" : classOf(v));
    }
    side.append(dl); pair.append(side);
  });
}
for (const id of ["metric", "outcome", "slice"]) $(id).addEventListener("change", filter);
$("text").addEventListener("input", filter);
$("filters").addEventListener("submit", (e) => e.preventDefault());
document.addEventListener("keydown", (e) => {
  const typing = /INPUT|SELECT/.test(document.activeElement.tagName);
  if (e.key === "Escape") { $("detail").hidden = true; document.activeElement.blur(); return; }
  if (typing || e.ctrlKey || e.metaKey || e.altKey) return;
  if (e.key === "/") { e.preventDefault(); $("text").focus(); }
  else if (e.key === "j" || e.key === "ArrowDown" && document.activeElement === $("list")) { e.preventDefault(); open(Math.min(at + 1, view.length - 1)); }
  else if (e.key === "k" || e.key === "ArrowUp" && document.activeElement === $("list")) { e.preventDefault(); open(Math.max(at - 1, 0)); }
  else if (e.key === "Enter" && at < 0) open(0);
});
window.addEventListener("resize", draw);
filter();
document.documentElement.dataset.ready = "1";
})();
