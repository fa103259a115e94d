const { tasks, tables, rows } = JSON.parse($("rows").textContent);
const known = rows.map(([table, name, label, short, anchor]) => {
  const [task, title] = tables[table], [file, taskName] = tasks[task];
  return { name, label, title, taskName, table: `${file}#${tables[table][2]}`, row: `${file}#${anchor}`, file,
           text: `${name} ${label} ${short} ${taskName} ${title}`.toLowerCase() };
});
const MOST = 200;
function filter() {
  const wanted = words(), runs = $("runs").checked;
  const found = known.filter((r) => wanted.every((w) => r.text.includes(w)) && !(runs && r.label === "paper"));
  const searched = wanted.length > 0 || runs;
  $("found").hidden = !searched;
  for (const e of all(document, ".overviews,.contents")) e.hidden = searched;
  $("count").textContent = `${found.length} of ${known.length} rows`;
  const shown = searched ? found.slice(0, MOST) : [];
  document.querySelector("#found tbody").replaceChildren(...shown.map(line));
  $("rest").hidden = shown.length === found.length;
  $("rest").textContent = `The first ${MOST} of ${found.length} rows are shown.`;
}
// One row that was found; texts are set as texts.
function line(r) {
  const row = document.createElement("tr"), name = document.createElement("th"), tag = document.createElement("span");
  name.scope = "row"; name.className = "name";
  const model = link(r.row, r.name);
  model.className = "model";
  tag.className = "tag"; tag.textContent = r.label;
  name.append(model, " ", tag);
  row.append(name, cell(link(r.file, r.taskName)), cell(link(r.table, r.title)));
  return row;
}
function cell(content) { const e = document.createElement("td"); e.append(content); return e; }
function link(address, text) { const e = document.createElement("a"); e.href = address; e.textContent = text; return e; }
// One overview at a time.
const choice = $("overview-choice"), overviews = all(document, ".overview");
function choose() { overviews.forEach((e, k) => { e.hidden = String(k) !== choice.value; }); }
if (choice) { choice.parentElement.hidden = false; choice.addEventListener("change", choose); choose(); }
// An address with #TASK leads to the task's page.
function lead() {
  const found = tasks.find(([, name]) => name === fragment());
  if (found) location.replace(found[0]);
}
window.addEventListener("hashchange", lead);
filter();
lead();
