// The data of the runs that the address names (?run=A&run=B), put together as one page's data: first what the numbers
// need, which is small, then the samples.
const MOST = 6, NAMES = [...new Set(new URLSearchParams(location.search).getAll("run"))];
async function json(place) {
  const found = await fetch(place);
  if (!found.ok) throw new Error(found.status === 404 ? "it is not there" : (await found.text()).slice(0, 2000));
  return found.json();
}
// The files of one kind, one a run.
const files = (kind) => Promise.all(NAMES.map(async (name) => {
  try { return await json(`${kind}/${encodeURIComponent(name)}.json`); } catch (problem) { throw new Error(`${name}: ${problem.message}`); }
}));
async function numbersOf() {
  try {
    if (location.protocol === "file:") throw new Error("a browser lets no page read files from disk: serve this folder with a web server, such as `python -m http.server`, or write one run's page with `evalkit report`");
    if (!NAMES.length || NAMES.length > MOST) throw new Error(`the address names ${NAMES.length} runs; choose 1 to ${MOST} in the list`);
    // A file server takes an escaped slash for a folder.
    for (const name of NAMES) if (/[/\\]/.test(name)) throw new Error(`${name} is no name of a run`);
    const all = await files("heads");
    const head = { ...all[0], runs: all.map((d) => d.runs[0]) };
    const title = head.runs.map((r) => `${r.model} on ${r.task}`).join(" against ");
    document.title = title;
    document.querySelector("h1").textContent = title;
    return head;
  } catch (problem) {
    return nothing(problem);
  }
}
// Add the samples to the data whose numbers are shown.  Numbers whose answers cannot be read are taken from the page.
async function withSamples(data) {
  try {
    const all = await files("data");
    all.forEach((d, k) => { if (JSON.stringify(d.runs[0]) !== JSON.stringify(data.runs[k])) throw new Error(`${NAMES[k]}: the run changed while the page was loaded; reload the page`); });
    const differences = await Promise.all(NAMES.slice(1).map((name, k) => differencesOf(NAMES[0], name, k + 1)));
    Object.assign(data, merged(all, NAMES), { runs: data.runs, lens: data.lens, differences });
    $("loading").hidden = true;
    return true;
  } catch (problem) {
    return nothing(problem);
  }
}
function nothing(problem) {
  $("loading").textContent = `Nothing to show: ${problem.message}`;
  $("about").textContent = "";
  for (const section of document.querySelectorAll("main > section")) section.hidden = true;
  return null;
}
// A pair is stored once, under the names in order; the other direction has the signs turned.
async function differencesOf(first, second, run) {
  const [a, b] = [first, second].sort();
  let found;
  try { found = await json(`pairs/${encodeURIComponent(a)}/${encodeURIComponent(b)}.json`); } catch (problem) {
    return { run, pairs: [], incomparable: `there are no differences: ${problem.message}` };
  }
  if (a === first) return { ...found, run };
  const minus = (v) => v === null ? null : -v;
  const pairs = found.pairs.map(([key, one, two, delta, low, high, n, worse, better, up, oneTable, twoTable]) => [key, two, one, minus(delta), minus(high), minus(low), n, better, worse, up, twoTable, oneTable]);
  return { ...found, run, pairs };
}
// The samples that all runs have, in the first one's order; questions, tags and pictures are the first one's.
function merged(all, names) {
  const [first] = all;
  if (all.length === 1) return first;
  const places = all.map((d) => new Map(d.ids.map((id, i) => [id, i])));
  const ids = first.ids.filter((id) => places.every((p) => p.has(id)));
  if (!ids.length) throw new Error("the runs have no sample in common");
  const rows = places.map((p) => ids.map((id) => p.get(id)));
  const only = (column, k) => ({ of: column.of, at: rows[k].map((i) => column.at[i]) });
  checkSameData(all, names, rows, ids);
  const every = (of, k) => Object.fromEntries(Object.entries(of).map(([name, column]) => [name, only(column, k)]));
  // Scores name texts by position; the texts of the runs follow each other.
  const texts = [], scores = all.map((d, k) => {
    const from = texts.length, moved = (s) => Array.isArray(s) && s.length === 3 ? [s[0], s[1] + from, s[2] + from] : s;
    for (const text of d.texts) texts.push(text);
    return Object.fromEntries(Object.entries(every(d.scores[0], k)).map(([key, c]) => [key, { of: c.of.map(moved), at: c.at }]));
  });
  return {
    ...first, ids, texts, scores,
    remarks: [...new Set(all.flatMap((d) => d.remarks))],
    wordy: all.map((d) => d.wordy[0]),
    left_out: all.map((d) => d.ids.length - ids.length),
    image_ids: only(first.image_ids, 0), questions: only(first.questions, 0), references: only(first.references, 0),
    tags: every(first.tags, 0),
    picture: rows[0].map((i) => first.picture[i]),
    boxes: first.boxes && [only(first.boxes[0], 0), ...all.map((d, k) => only(d.boxes[1], k))],
    answers: all.map((d, k) => every(d.answers[0], k)),
  };
}
function checkSameData(all, names, rows, ids) {
  const same = (one, two) => JSON.stringify(one) === JSON.stringify(two);
  const value = (column, i) => column.of[column.at[i]];
  for (let k = 1; k < all.length; k++) {
    ids.forEach((id, place) => {
      const [i, j] = [rows[0][place], rows[k][place]];
      if (value(all[0].questions, i) !== value(all[k].questions, j) || !same(value(all[0].references, i), value(all[k].references, j))) throw new Error(`${names[0]} and ${names[k]} are over different data: sample ${id} has another question or reference in each`);
    });
  }
}
