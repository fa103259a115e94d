// Filters that look at every text or at every protocol, made for hundreds of thousands of samples.

// Protocols disagree where one scores an answer as right and another as wrong.
function disagreeing() {
  const GOOD = 1, BAD = 2, seen = new Uint8Array(N);
  for (const name of metrics.filter((m) => /accuracy|exact_match/.test(m))) {
    const { at, values } = D.scores[0][name], bits = Uint8Array.from(values, (v) => v === 1 ? GOOD : v === 0 ? BAD : 0);
    for (let i = 0; i < N; i++) seen[i] |= bits[at[i]];
  }
  return (i) => seen[i] === (GOOD | BAD);
}

// The distinct texts of a column as one text in lower case, with a separator that no search has, and where each ends:
// one search of a long text is many times as fast as a search of each.
const BETWEEN = "\u0000";
function joined(column, text) {
  const ends = new Uint32Array(column.of.length), lower = column.of.map((v) => text(v).toLowerCase());
  let length = 0;
  for (let k = 0; k < lower.length; k++) {
    length += lower[k].length + 1;
    ends[k] = length;
  }
  return { all: lower.join(BETWEEN), ends, at: column.at };
}
// Which of the joined texts have the words, 1 each.
function having({ all, ends }, words) {
  const found = new Uint8Array(ends.length);
  for (let from = all.indexOf(words), k = 0; from >= 0; from = all.indexOf(words, ends[k])) {
    if (ends[k] <= from) k = entryAt(ends, from, k);
    found[k] = 1;
    if (ends[k] >= all.length) break;
  }
  return found;
}
// The text that holds a position: the first whose end is behind it.
function entryAt(ends, place, low) {
  let high = ends.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ends[middle] > place) high = middle; else low = middle + 1;
  }
  return low;
}
let texts = null;
function prepareSearch() {
  texts = texts || [
    joined(D.questions, (v) => v), joined(D.references, (v) => v.join(" ")), joined({ of: D.ids, at: null }, (v) => v),
    ...D.answers.flatMap((a) => [joined(a.text, (v) => v ?? ""), joined(a.error, (v) => v ?? ""), ...(a.reasoning ? [joined(a.reasoning, (v) => v)] : [])]),
  ];
  return texts;
}
// One flag a sample: whether the words are in its question, references, id, answers, errors or thoughts.
function searched(words) {
  const passes = new Uint8Array(N);
  for (const column of prepareSearch()) {
    const found = having(column, words), { at } = column;
    for (let i = 0; i < N; i++) passes[i] |= found[at ? at[i] : i];
  }
  return passes;
}
