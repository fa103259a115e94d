// The list of runs: filters, choice, protocols side by side, and progress.
let D = JSON.parse($("data").textContent);
const FILTERS = ["text", "task", "state", "tag", "metric"], MOST = 6, RELOAD = 2000, IDLE = 15000;
const chosen = new Set();
let order = { by: -1, up: false }, view = [], at = -1;
// Seconds without a change after which an unfinished run is taken for one that nobody continues at the moment.
const QUIET = 900;
const STATES = { done: "finished", running: "running or not finished", part: "part of a run", unusable: "not usable" };
const goesOn = (r) => r.state === "running" && D.now - r.changed < QUIET;
const stateOf = (r) => r.state === "running" && !goesOn(r) ? "not finished" : r.state === "running" ? "running" : STATES[r.state];

// The metrics that stand in the columns: all protocols of one metric, or the first ones of each run's protocols.
function columns() {
  const name = $("metric").value;
  const used = new Set(view.flatMap((r) => Object.keys(r.values)));
  return D.keys.map((key, k) => [key, k]).filter(([key, k]) => used.has(String(k)) && key[1] === name);
}
function passes(r) {
  const words = $("text").value.toLowerCase().trim().split(/\s+/), tag = $("tag").value;
  const text = [r.name, r.model, r.task, r.split, stateOf(r), ...r.tags].join(" ").toLowerCase();
  return words.every((w) => text.includes(w)) && (!$("task").value || r.task === $("task").value) &&
    (!$("state").value || r.state === $("state").value) && (!tag || r.tags.includes(tag));
}
const addressOf = (names) => `run.html?${new URLSearchParams(names.map((n) => ["run", n]))}`;

function nameCell(r) {
  const box = el("span"), name = r.model || r.name;
  if (r.state === "done") {
    const link = el("a", name);
    link.href = addressOf([r.name]);
    box.append(link);
  } else box.append(name);
  if (name !== r.name) box.append(el("small", r.name));
  if (r.problem) box.append(el("small", r.problem));
  return { sort: name, drawn: box, cls: "name" };
}
function stateCell(r) {
  const box = el("span", stateOf(r), r.state === "unusable" ? "bad" : "");
  if (r.state === "running" || r.state === "part") {
    const bar = el("progress"), share = r.n ? r.n_answered / r.n : 0;
    bar.max = r.n;
    bar.value = r.n_answered;
    bar.setAttribute("aria-label", `answered samples of ${r.name}`);
    box.append(" ", bar, el("small", `${r.n_answered} of ${r.n} (${Math.floor(100 * share)} %)`));
    if (D.live && r.state === "running") box.append(el("small", `last change ${ago(D.now - r.changed)} ago`));
  } else if (r.n_failed) box.append(el("small", `${r.n_failed} failed`, "bad"));
  return { sort: r.state === "running" ? r.n_answered / Math.max(1, r.n) : r.state, drawn: box, cls: "state" };
}
const ago = (s) => s < 90 ? `${Math.max(0, Math.round(s))} s` : s < 5400 ? `${Math.round(s / 60)} min` : s < 172800 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86400)} days`;
function tagCell(r) {
  const box = el("span", undefined, "tags");
  for (const tag of r.tags) {
    const b = el("button", tag, "link");
    b.type = "button";
    b.addEventListener("click", () => { $("tag").value = tag; show(); });
    box.append(b);
  }
  return { sort: r.tags.join(" "), drawn: box, cls: "tagged" };
}
function boxCell(r) {
  const box = el("input");
  box.type = "checkbox";
  box.checked = chosen.has(r.name);
  box.disabled = r.state !== "done";
  box.setAttribute("aria-label", `choose ${r.name}`);
  box.addEventListener("change", () => choose(r.name, box.checked));
  return { sort: Number(box.checked), drawn: box, cls: "box" };
}
function rowOf(r, place, keys) {
  const cells = [boxCell(r), nameCell(r), cell(r.task ? `${r.task} ${r.split}` : ""), stateCell(r), cell(r.n || null)];
  for (const [[, , points], k] of keys) {
    const v = r.values[k];
    if (!v) { cells.push(cell(null)); continue; }
    const box = el("span", shown(v[0], points));
    if (!none(v[1])) box.append(el("small", range(v[1], v[2], points)));
    if (v[4]) box.append(el("small", `${v[4]} unscored`, "odd"));
    cells.push({ sort: v[0], drawn: box, cls: "value" });
  }
  cells.push(tagCell(r), cell(r.changed, new Date(1000 * r.changed).toISOString().slice(0, 16).replace("T", " ")));
  return { cells, id: `run-${place}` };
}
function show() {
  view = D.runs.filter(passes);
  const keys = columns(), heads = ["choose", "model", "task", "state", "n", ...keys.map(([[protocol, , , lower]]) => `${protocol}${lower ? " (less is better)" : ""}`), "tags", "changed (UTC)"];
  if (order.by >= heads.length) order.by = -1;
  sortable($("runs"), heads, view.map((r, place) => rowOf(r, place, keys)), { ...order, changed(by, up) { order = { by, up }; remember(); } });
  $("count").textContent = `${view.length} of ${D.runs.length} runs`;
  const running = D.runs.filter(goesOn).length;
  $("live").textContent = running ? `${running} running` : "";
  at = Math.min(at, view.length - 1);
  mark();
  choice();
  remember();
}
function choose(name, on) {
  if (on) chosen.add(name); else chosen.delete(name);
  choice();
}
function choice() {
  const runs = D.runs.filter((r) => chosen.has(r.name)), sets = new Set(runs.map((r) => `${r.task} ${r.split}`));
  const why = runs.length < 2 ? `choose 2 to ${MOST} runs` : runs.length > MOST ? `${runs.length} chosen, ${MOST} at most` : sets.size > 1 ? "the chosen runs are over different tasks" : "";
  $("open").disabled = runs.length !== 1;
  $("compare").disabled = Boolean(why);
  $("chosen").textContent = runs.length ? `${runs.length} chosen${why && runs.length > 1 ? `: ${why}` : ""}` : `choose 2 to ${MOST} runs to compare them`;
}
const go = (names) => { if (names.length) location.href = addressOf(names); };
// In the order of the list, of which the first is the one that the others are compared with.
const inOrder = () => [...document.querySelectorAll("#runs tbody tr")].map((row) => view[Number(row.id.slice(4))].name).filter((n) => chosen.has(n));

// The line that the keyboard is at, among the lines as they are sorted now.
const rows = () => [...document.querySelectorAll("#runs tbody tr")];
function mark() {
  rows().forEach((row, k) => row.classList.toggle("at", k === at));
}
function move(to) {
  at = Math.max(0, Math.min(view.length - 1, to));
  mark();
  if (rows()[at]) rows()[at].scrollIntoView({ block: "nearest" });
}
const here = () => rows()[at] && view[Number(rows()[at].id.slice(4))];

function remember() {
  const values = Object.fromEntries(FILTERS.map((id) => [id, $(id).options && $(id).selectedIndex === 0 ? "" : $(id).value]));
  address({ ...values, sort: order.by < 0 ? "" : `${order.by}${order.up ? "up" : "down"}` });
}
function restore() {
  const values = addressed(), [, by, way] = /^(\d+)(up|down)$/.exec(values.sort || "") || [];
  order = { by: by === undefined ? -1 : Number(by), up: way === "up" };
  for (const id of FILTERS) {
    if (!$(id).options) $(id).value = values[id] || "";
    else $(id).selectedIndex = Math.max(0, [...$(id).options].findIndex((o) => o.value === values[id]));
  }
  show();
}
function offers() {
  const sorted = (of) => [...new Set(of)].filter(Boolean).sort();
  const fill = (id, list) => { const before = $(id).value; $(id).textContent = ""; choices($(id), list); if (list.some(([v]) => v === before)) $(id).value = before; };
  fill("task", [["", "all"], ...sorted(D.runs.map((r) => r.task)).map((t) => [t, t])]);
  fill("state", [["", "all"], ...sorted(D.runs.map((r) => r.state)).map((s) => [s, STATES[s]])]);
  fill("tag", [["", "all"], ...sorted(D.runs.flatMap((r) => r.tags)).map((t) => [t, t])]);
  const times = new Map(), names = new Map(D.keys.map((k) => [k[1], k[4]]));
  for (const r of D.runs) for (const k of Object.keys(r.values)) if (r.values[k][3]) times.set(D.keys[k][1], (times.get(D.keys[k][1]) || 0) + 1);
  fill("metric", [...times].sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0])).map(([m]) => [m, `${names.get(m).replaceAll("_", " ")}, by protocol`]));
}
function rowsOfList() {
  const heads = ["run", "state", "model", "task", "split", "n", "answered", "failed", "tags", "protocol", "metric", "value", "low", "high", "n_metric", "unscored"];
  return [heads, ...view.flatMap((r) => {
    const of = [r.name, r.state, r.model, r.task, r.split, r.n, r.n_answered, r.n_failed, r.tags.join(" ")], found = Object.entries(r.values);
    return found.length ? found.map(([k, v]) => [...of, D.keys[k][0], D.keys[k][1], ...v]) : [of];
  })];
}
// Running runs are asked for every two seconds, others every fifteen, while somebody looks at the page.
async function reload() {
  const running = D.runs.some(goesOn);
  try {
    if (!document.hidden) {
      const found = await fetch("runs.json");
      if (!found.ok) throw new Error(found.status);
      const before = JSON.stringify([D.runs, D.keys]), typing = /INPUT|SELECT|BUTTON|A/.test(document.activeElement.tagName) && $("runs").contains(document.activeElement);
      D = await found.json();
      if (before !== JSON.stringify([D.runs, D.keys]) || running && !typing) { offers(); show(); }
    }
  } catch (problem) {
    $("live").textContent = "the list is not up to date: the viewer does not answer";
  }
  setTimeout(reload, running ? RELOAD : IDLE);
}
function keys(e) {
  const typing = /INPUT|SELECT|TEXTAREA/.test(document.activeElement.tagName) && document.activeElement.type !== "checkbox";
  if (e.key === "Escape") { document.activeElement.blur(); return; }
  if (typing || e.ctrlKey || e.metaKey || e.altKey) return;
  const does = {
    "/": () => $("text").focus(), j: () => move(at + 1), k: () => move(at - 1), c: () => { if (!$("compare").disabled) go(inOrder()); },
    x: () => { const r = here(), box = r && rows()[at].querySelector("input"); if (box && !box.disabled) { box.checked = !box.checked; choose(r.name, box.checked); } },
  };
  if (!/BUTTON|A/.test(document.activeElement.tagName)) does.Enter = () => { const r = here(); if (r && r.state === "done") go([r.name]); };
  if (does[e.key]) { e.preventDefault(); does[e.key](); }
}

offers();
for (const id of FILTERS) $(id).addEventListener($(id).options ? "change" : "input", show);
$("filters").addEventListener("submit", (e) => e.preventDefault());
$("open").addEventListener("click", () => go(inOrder()));
$("compare").addEventListener("click", () => go(inOrder()));
$("none").addEventListener("click", () => { chosen.clear(); show(); });
$("copy").addEventListener("click", () => copyRows(rowsOfList(), $("copied")));
document.addEventListener("keydown", keys);
window.addEventListener("hashchange", restore);
restore();
if (D.live) setTimeout(reload, RELOAD);
document.documentElement.dataset.ready = "1";
