// Risk-coverage curve and calibration of a run's answers, where these have a probability.
function plot(title, across, up, top, draw) {
  const W = 320, H = 220, left = 46, bottom = 38;
  const s = svg("svg", { viewBox: `0 0 ${W} ${H}`, class: "curve", role: "img", "aria-label": title });
  const x = (v) => left + v * (W - left - 12), y = (v) => H - bottom - v / top * (H - bottom - 24);
  const say = (text, at) => { const t = svg("text", at); t.textContent = text; s.append(t); };
  for (let g = 0; g <= 4; g++) {
    s.append(svg("line", { x1: x(g / 4), x2: x(g / 4), y1: y(0), y2: y(top), "stroke-opacity": .2 }));
    s.append(svg("line", { x1: x(0), x2: x(1), y1: y(top * g / 4), y2: y(top * g / 4), "stroke-opacity": .2 }));
    say(25 * g, { x: x(g / 4), y: H - bottom + 15, "text-anchor": "middle" });
    say((25 * top * g).toFixed(top < .4 ? 1 : 0), { x: left - 6, y: y(top * g / 4) + 4, "text-anchor": "end" });
  }
  say(title, { x: x(.5), y: 13, "text-anchor": "middle" });
  say(across, { x: x(.5), y: H - 5, "text-anchor": "middle" });
  say(up, { x: 10, y: y(top / 2), "text-anchor": "middle", transform: `rotate(-90 10 ${y(top / 2)})` });
  draw(s, x, y);
  return s;
}
function riskCurve(m, name) {
  const top = Math.max(.05, ...m.curve.map((p) => p[1]));
  return plot(`${name}risk and coverage`, "coverage, %", "risk, %", top, (s, x, y) => {
    s.append(svg("polyline", { points: m.curve.map((p) => `${x(p[0])},${y(p[1])}`).join(" "), class: "drawn", fill: "none" }));
    for (const [coverage, risk] of m.curve.length < 3 ? m.curve : []) s.append(svg("circle", { cx: x(coverage), cy: y(risk), r: 3 }));
  });
}
function calibrationPlot(m, name) {
  const most = Math.max(...m.bins.map((b) => b.n));
  return plot(`${name}calibration`, "confidence, %", "right, %", 1, (s, x, y) => {
    s.append(svg("line", { x1: x(0), x2: x(1), y1: y(0), y2: y(1), "stroke-dasharray": "4 4", "stroke-opacity": .6 }));
    for (const b of m.bins) {
      const dot = svg("circle", { cx: x(b.confidence), cy: y(b.accuracy), r: 2 + 6 * Math.sqrt(b.n / most) }), title = svg("title", {});
      title.textContent = `confidence ${percent(b.confidence)}, right ${percent(b.accuracy)}, n ${b.n}`;
      dot.append(title);
      s.append(dot);
    }
  });
}
function confidence() {
  const found = D.runs.map((r) => r.confidence ? r.confidence.metrics : []);
  const keys = [...new Set(found.flat().map(keyOf))];
  if (!keys.length) return;
  $("confidence").hidden = false;
  choices($("confidence-metric"), keys.map((k) => [k, keyText(k)]));
  const text = (v) => `${percent(v.value)} ${range(v.low, v.high)}`;
  function draw() {
    const box = $("curves");
    box.textContent = "";
    found.forEach((metrics, k) => {
      const m = metrics.find((o) => keyOf(o) === $("confidence-metric").value), name = R > 1 ? `${D.runs[k].model}: ` : "";
      if (!m) return;
      const outcomes = Object.entries(m.outcomes).filter(([, v]) => v.value > 0).map(([what, v]) => `${what} ${text(v)}`);
      box.append(el("p", `${name}${outcomes.join(", ")} of ${m.n}; ${m.n_answered} answers with a probability`, "note"));
      box.append(el("p", `value at coverage ${m.selective.map((s) => `${(100 * s.coverage).toFixed(0)} %: ${text(s)}`).join(", ")}`, "note"));
      const errors = m.bins ? `; calibration error ${text(m.calibration_error)}; confidence above the share right by ${text(m.overconfidence)}` : "";
      box.append(el("p", `AURC ${text(m.aurc)}${errors}`, "note"));
      box.append(riskCurve(m, name));
      if (m.bins) box.append(calibrationPlot(m, name));
    });
  }
  $("confidence-metric").addEventListener("change", draw);
  draw();
}
