// The samples: filters that test each distinct value once, a list that draws only visible rows, and one sample.
const ROW = 58, N = D.ids.length;
const get = (column, i) => column.of[column.at[i]];

// A score is a number, [reason] (unscored), [value, extracted, note] (positions in D.texts), or null (no such score).
const valueOf = (s) => none(s) ? undefined : typeof s === "number" ? s : s.length === 1 ? null : s[0];
const classOf = (v) => v === undefined ? "" : v === null ? "odd" : v >= 1 ? "good" : v <= 0 ? "bad" : "odd";
for (const run of D.scores) for (const key in run) run[key].values = run[key].of.map(valueOf);
// Positions as numbers of four bytes: a filter reads them all.
for (const column of [...D.scores, ...D.answers, D.tags].flatMap(Object.values).concat(D.questions, D.references)) column.at = new Uint32Array(column.at);
const metrics = whole(D.runs[0]).map(keyOf).filter((k) => D.scores[0][k]);
const val = (run, key, i) => { const c = D.scores[run][key]; return c ? c.values[c.at[i]] : undefined; };

// One flag a sample that passes a filter, computed once; make: () => (position) => whether it passes.
const known = new Map();
function flags(name, make) {
  if (!known.has(name)) {
    const found = new Uint8Array(N), test = make();
    for (let i = 0; i < N; i++) found[i] = test(i) ? 1 : 0;
    known.set(name, found);
  }
  return known.get(name);
}
const over = (column, test) => { const ok = Uint8Array.from(column.of, (v) => test(v) ? 1 : 0), { at } = column; return (i) => ok[at[i]] === 1; };
const any = (tests) => tests.length === 1 ? tests[0] : (i) => tests.some((t) => t(i));
const answered = (key, test) => () => any(D.answers.map((a) => over(a[key], test)));
const scored = (test) => (key) => () => D.scores[0][key] ? over(D.scores[0][key], (s) => test(quality(key, valueOf(s)))) : () => false;
const both = (k, test) => (key) => () => (i) => test(quality(key, val(0, key, i)), quality(key, val(k, key, i)));

// An answer that was cut inside its reasoning is truncated and has not failed.
const isCut = (a, i) => Boolean(a.cut && get(a.cut, i));
const failed = (i) => D.answers.some((a) => get(a.error, i) !== null && !isCut(a, i));
const cut = (i) => D.answers.some((a) => get(a.finish_reason, i) === "length" || isCut(a, i));
const empty = answered("text", (t) => t !== null && !t.trim());
const outcomes = {
  all: ["all", null],
  right: ["right", scored((v) => v >= 1)],
  wrong: ["wrong", scored((v) => v === 0)],
  partly: ["partly right", scored((v) => v > 0 && v < 1)],
  unscored: ["unscored", scored((v) => v === null)],
  failed: ["failed", () => () => failed],
  empty: ["empty answers", () => empty],
  truncated: ["truncated", () => () => cut],
  disagree: ["protocols disagree", () => disagreeing],
};
if (R > 1) outcomes.flipped = ["runs differ", (key) => () => (i) => D.runs.some((r, k) => k && val(k, key, i) !== val(0, key, i))];
for (let k = 1; k < R; k++) {
  // Unscored is null, and null would compare as 0.
  const than = (test) => both(k, (a, b) => typeof a === "number" && typeof b === "number" && test(a, b));
  const [of, name] = R > 2 ? [`-${k + 1}`, nameOf(k)] : ["", "second"];
  outcomes[`worse${of}`] = [`${name} is worse`, than((a, b) => b < a)];
  outcomes[`better${of}`] = [`${name} is better`, than((a, b) => b > a)];
}
const orders = {
  data: ["as in the data", null],
  worst: ["worst score first", (key) => (i) => quality(key, val(R - 1, key, i)) ?? Infinity],
  slow: ["slowest first", () => (i) => -Math.max(...D.answers.map((a) => get(a.seconds, i) ?? 0))],
  long: ["longest answer first", () => (i) => -Math.max(...D.answers.map((a) => (get(a.text, i) ?? "").length))],
};

function slots() {
  const found = [["", "all"]];
  for (const tag of Object.keys(D.tags)) {
    const column = D.tags[tag], count = new Array(column.of.length).fill(0);
    for (const k of column.at) count[k] += 1;
    column.of.map((v, k) => [v, count[k]]).sort().forEach(([v, n]) => { if (v) found.push([`${tag}=${v}`, `${tag}=${v} (${n})`]); });
  }
  return found;
}

// The column of a slice `tag=value`, and the position of the value in it; null for all samples.
function inSlice(name) {
  if (!name) return null;
  const [tag, ...rest] = name.split("=");
  return { at: D.tags[tag].at, place: D.tags[tag].of.indexOf(rest.join("=")) };
}
let view = [], at = -1;
function filter() {
  const key = $("metric").value, outcome = $("outcome").value, words = $("text").value.toLowerCase().trim();
  const passes = outcome === "all" ? null : flags(`${outcome} ${key}`, outcomes[outcome][1](key));
  const [one, two] = ["slice", "slice-2"].map((id) => inSlice($(id).value));
  const text = words ? searched(words) : null;
  view = [];
  for (let i = 0; i < N; i++) {
    if (one && one.at[i] !== one.place || two && two.at[i] !== two.place || passes && !passes[i] || text && !text[i]) continue;
    view.push(i);
  }
  const order = orders[$("order").value][1];
  if (order) {
    const rank = order(key), ranks = new Float64Array(N);
    for (const i of view) ranks[i] = rank(i);
    view.sort((a, b) => ranks[a] - ranks[b] || a - b);
  }
  at = -1;
  $("detail").hidden = true;
  $("list").scrollTop = 0;
  $("count").textContent = `${view.length} of ${N}`;
  $("space").style.height = `${view.length * ROW}px`;
  draw();
  gallery();
  remember();
}

const answerOf = (a, i) => get(a.text, i) ?? "✗ " + get(a.error, i);
// Answers may be long; a line shows the start.
const short = (text) => text.length > 300 ? text.slice(0, 300) + "…" : text;
function draw() {
  const list = $("list"), key = $("metric").value, w = $("window");
  const from = Math.max(0, Math.floor(list.scrollTop / ROW) - 3), to = Math.min(view.length, from + Math.ceil(list.clientHeight / ROW) + 8);
  w.textContent = "";
  w.style.top = `${from * ROW}px`;
  for (let k = from; k < to; k++) {
    const i = view[k], row = el("div", undefined, "row" + (k === at ? " on" : "")), dots = el("span", undefined, "dots"), text = el("div");
    row.id = `row-${k}`;
    row.setAttribute("role", "option");
    row.setAttribute("aria-selected", k === at);
    for (let n = 0; n < R; n++) dots.append(el("span", undefined, "dot " + classOf(quality(key, val(n, key, i)))));
    text.append(el("p", get(D.questions, i)), el("p", `${get(D.references, i).join(" / ")}  →  ${D.answers.map((a) => short(answerOf(a, i))).join("  |  ")}`));
    row.append(dots, text);
    row.addEventListener("click", () => open(k));
    w.append(row);
  }
  if (at >= 0) list.setAttribute("aria-activedescendant", `row-${at}`); else list.removeAttribute("aria-activedescendant");
}

// Boxes are in pixels of the image before it was made small.
function picture(address, i) {
  const holder = el("span", undefined, "picture"), img = el("img"), size = D.pictures[D.picture[i]].size, [w, h] = size || [];
  img.alt = `image ${get(D.image_ids, i)}`;
  if (size) [img.width, img.height] = size;
  img.src = address;
  holder.append(img);
  if (D.boxes && size) {
    const s = svg("svg", { viewBox: `0 0 ${w} ${h}`, preserveAspectRatio: "none" });
    D.boxes.forEach((column, n) => {
      const b = get(column, i);
      if (b && b[2] >= b[0] && b[3] >= b[1]) s.append(svg("rect", { x: b[0], y: b[1], width: b[2] - b[0] + 1, height: b[3] - b[1] + 1, class: `box b${n}` }));
    });
    holder.append(s);
  }
  return holder;
}
function legend(i) {
  const names = ["reference", ...D.runs.map((r, k) => R > 1 ? nameOf(k) : "answer")], line = el("p", undefined, "keys");
  D.boxes.forEach((column, n) => {
    const b = get(column, i), s = svg("svg", { viewBox: "0 0 18 12", class: "swatch" });
    s.append(svg("rect", { x: 1, y: 1, width: 16, height: 10, class: `box b${n}` }));
    const remark = !b ? ": no box" : b[2] < b[0] || b[3] < b[1] ? ": inverted, counts as nothing" : "";
    line.append(s, ` ${names[n]}${remark}  `);
  });
  return line;
}

function side(n, i) {
  const box = el("div"), list = el("dl"), a = D.answers[n], seconds = get(a.seconds, i), error = get(a.error, i);
  const put = (name, value, cls, more) => {
    const dd = el("dd", undefined, more ? "" : cls);
    if (more) dd.append(el("b", value, cls), el("span", more, "more")); else dd.textContent = value;
    into.append(el("dt", name), dd);
  };
  let last = "", into = list;
  if (R > 1) box.append(el("h4", nameOf(n)));
  if (error !== null) put(isCut(a, i) ? "answer" : "failed", error, "odd"); else put("answer", get(a.text, i) === "" ? "(empty)" : get(a.text, i), "answer");
  put("finish", get(a.finish_reason, i), get(a.finish_reason, i) === "length" ? "odd" : "");
  if (a.reasoning && get(a.reasoning, i)) {
    const dd = el("dd"), more = el("details");
    more.open = isCut(a, i);
    more.append(el("summary", "not scored"), el("div", get(a.reasoning, i), "thought"));
    dd.append(more);
    list.append(el("dt", "reasoning"), dd);
  }
  if (seconds !== null) put("latency", `${seconds} s`);
  box.append(list);
  for (const key of Object.keys(D.scores[n])) {
    const s = get(D.scores[n][key], i), v = valueOf(s), [protocol] = key.split(" ");
    if (v === undefined) continue;
    if (protocol !== last) into = protocolScores(box, list, protocol);
    last = protocol;
    const more = Array.isArray(s) && v !== null ? [D.texts[s[1]] && `read: ${D.texts[s[1]]}`, D.texts[s[2]]].filter(Boolean).join("; ") : "";
    put(metricText(key), v === null ? `unscored: ${s[0]}` : String(+v.toFixed(3)), classOf(quality(key, v)), more);
  }
  return box;
}
// The list that takes the scores of a protocol.  Those of a judge are folded, as its replies are long.
function protocolScores(box, list, protocol) {
  if (!protocol.startsWith("judge:")) {
    list.append(el("dt", protocol, "protocol"), el("dd", ""));
    return list;
  }
  const more = el("details", undefined, "judged"), own = el("dl");
  more.append(el("summary", protocol), own);
  box.append(more);
  return own;
}

function open(k) {
  if (k < 0 || k >= view.length) return;
  at = k;
  const i = view[k], d = $("detail"), list = $("list"), head = el("div", undefined, "steps"), facts = el("dl"), pair = el("div", undefined, "pair");
  d.textContent = "";
  d.hidden = false;
  if (k * ROW < list.scrollTop) list.scrollTop = k * ROW;
  else if ((k + 1) * ROW > list.scrollTop + list.clientHeight) list.scrollTop = (k + 1) * ROW - list.clientHeight;
  draw();
  for (const [name, label, to] of [["‹", "previous sample", k - 1], ["›", "next sample", k + 1], ["×", "close", -1]]) {
    const b = el("button", name);
    b.type = "button";
    b.setAttribute("aria-label", label);
    b.disabled = to >= view.length || name === "‹" && to < 0;
    b.addEventListener("click", () => name === "×" ? close() : open(to));
    head.append(b);
  }
  head.append(el("span", `${k + 1} of ${view.length}`, "keys"));
  d.append(head, el("h3", get(D.questions, i)));
  const addresses = D.picture[i] < 0 ? [] : D.pictures[D.picture[i]].addresses;
  const sight = el("div", undefined, "sight"), seen = el("div");
  for (const address of addresses) seen.append(picture(address, i));
  if (D.boxes && addresses.length) seen.append(legend(i));
  if (addresses.length) sight.append(seen);
  sight.append(facts);
  const put = (name, value) => facts.append(el("dt", name), el("dd", value));
  put("reference", get(D.references, i).join("\n"));
  put("sample", D.ids[i]);
  put("image", get(D.image_ids, i));
  for (const tag of Object.keys(D.tags)) if (get(D.tags[tag], i)) put(tag.replaceAll("_", " "), get(D.tags[tag], i));
  for (let n = 0; n < R; n++) pair.append(side(n, i));
  d.append(sight, pair);
  d.scrollTop = 0;
  remember();
  if (matchMedia("(max-width:760px)").matches) d.scrollIntoView({ block: "start" });
}
function close() {
  at = -1;
  $("detail").hidden = true;
  draw();
  remember();
}
function show(id) {
  for (const name of ["outcome", "slice", "slice-2", "order"]) $(name).selectedIndex = 0;
  $("text").value = "";
  filter();
  open(D.ids.indexOf(id));
  $("samples").scrollIntoView();
}

function keys(e) {
  const active = document.activeElement, typing = /INPUT|SELECT/.test(active.tagName), onList = active === $("list");
  const does = {
    j: () => open(Math.min(at + 1, view.length - 1)),
    k: () => open(Math.max(at - 1, 0)),
    "/": () => { $("samples").scrollIntoView(); $("text").focus(); },
  };
  if (onList) Object.assign(does, {
    ArrowDown: does.j, ArrowUp: does.k, Home: () => open(0), End: () => open(view.length - 1),
    PageDown: () => open(Math.min(at + 10, view.length - 1)), PageUp: () => open(Math.max(at - 10, 0)),
    Enter: () => open(Math.max(at, 0)),
  });
  if (e.key === "Escape") {
    close();
    active.blur();
  } else if (e.key === "Enter" && active === $("text")) {
    $("list").focus();
    open(0);
  } else if (!typing && !e.ctrlKey && !e.metaKey && !e.altKey && does[e.key]) {
    e.preventDefault();
    does[e.key]();
  }
}

function samples() {
  choices($("metric"), metrics.map((m) => [m, keyText(m)]));
  choices($("outcome"), Object.entries(outcomes).map(([name, [text]]) => [name, text]));
  choices($("order"), Object.entries(orders).map(([name, [text]]) => [name, text]));
  const found = slots();
  choices($("slice"), found);
  choices($("slice-2"), found);
  for (const id of ["metric", "outcome", "slice", "slice-2", "order"]) $(id).addEventListener("change", filter);
  $("text").addEventListener("input", filter);
  $("filters").addEventListener("submit", (e) => e.preventDefault());
  let pending = false;
  $("list").addEventListener("scroll", () => {
    if (!pending) requestAnimationFrame(() => { pending = false; draw(); });
    pending = true;
  });
  document.addEventListener("keydown", keys);
  window.addEventListener("resize", draw);
  restore();
}
