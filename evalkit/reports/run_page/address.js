// The samples' filters and the open sample in the address, the gallery, and the copy as CSV.
const FIELDS = { metric: "metric", outcome: "show", slice: "slice", "slice-2": "and", order: "order", text: "find" };

// Write the filters and the open sample, as far as they are not those that the page starts with.
let restoring = false;
function remember() {
  if (restoring) return;
  const values = {};
  for (const [id, name] of Object.entries(FIELDS)) {
    const field = $(id), first = field.options && field.options.length ? field.options[0].value : "";
    if (field.value !== first) values[name] = field.value;
  }
  if ($("pictures").checked) values.view = "gallery";
  if (at >= 0) values.sample = D.ids[view[at]];
  address(values);
}
// Set the filters that the address names, and open its sample; what the page does not have is left out.
function restore() {
  const values = addressed();
  restoring = true;
  for (const [id, name] of Object.entries(FIELDS)) {
    const field = $(id), wanted = values[name];
    if (!field.options) field.value = wanted || "";
    else field.selectedIndex = Math.max(0, [...field.options].findIndex((o) => o.value === wanted));
  }
  $("pictures").checked = values.view === "gallery";
  filter();
  if (values.sample !== undefined) {
    const i = D.ids.indexOf(values.sample);
    if (i >= 0 && !view.includes(i)) show(values.sample);
    else open(view.indexOf(i));
  }
  if (Object.keys(values).length) $("samples").scrollIntoView();
  restoring = false;
}

// Pictures of the samples that pass the filters, a part at a time.
const TILES = 60;
let tiles = 0;
function gallery() {
  const box = $("gallery"), on = $("pictures").checked;
  box.hidden = !on;
  $("list").hidden = on;
  tiles = 0;
  box.textContent = "";
  if (!on) { draw(); return; }
  const more = el("button", "more pictures");
  more.type = "button";
  more.addEventListener("click", () => addTiles(box, more));
  box.append(more);
  addTiles(box, more);
}
function addTiles(box, more) {
  const key = $("metric").value, until = Math.min(view.length, tiles + TILES);
  for (; tiles < until; tiles++) {
    const k = tiles, i = view[k], tile = el("button", undefined, "tile"), seen = D.picture[i] < 0 ? [] : D.pictures[D.picture[i]].addresses;
    tile.type = "button";
    if (seen.length) {
      const img = el("img");
      img.loading = "lazy";
      img.alt = "";
      img.src = seen[0];
      tile.append(img);
    } else tile.append(el("span", "no picture", "keys"));
    tile.append(el("span", get(D.questions, i)), el("span", get(D.references, i).join(" / "), "keys"));
    for (let n = 0; n < R; n++) tile.append(el("span", `${R > 1 ? nameOf(n) + ": " : ""}${short(answerOf(D.answers[n], i))}`, classOf(quality(key, val(n, key, i)))));
    tile.addEventListener("click", () => open(k));
    box.insertBefore(tile, more);
  }
  more.hidden = tiles >= view.length;
}

// The samples that pass the filters, with their tags, and answer and score of each run.
function rowsOfView() {
  const key = $("metric").value, tags = Object.keys(D.tags), of = (n) => R > 1 ? ` ${nameOf(n)}` : "";
  const heads = ["sample", "image", "question", "reference", ...tags];
  for (let n = 0; n < R; n++) heads.push(`answer${of(n)}`, `${key}${of(n)}`);
  return [heads, ...view.map((i) => {
    const row = [D.ids[i], get(D.image_ids, i), get(D.questions, i), get(D.references, i).join(" / "), ...tags.map((t) => get(D.tags[t], i))];
    for (let n = 0; n < R; n++) row.push(answerOf(D.answers[n], i), val(n, key, i));
    return row;
  })];
}
remarks();
differences();
$("samples").hidden = false;
$("pictures").addEventListener("change", filter);
$("pictures").disabled = !D.pictures.length;
$("copy-samples").addEventListener("click", () => copyRows(rowsOfView(), $("copied")));
samples();
window.addEventListener("hashchange", restore);
isComplete = true;
if (wanted !== null) show(wanted);
// Before the first letter is typed, while nothing else is to do.
(window.requestIdleCallback || setTimeout)(prepareSearch);
