// The plots of the cut-offs, and the figures beside the sliders.

const { curve, histogram } = JSON.parse(document.getElementById("plots").textContent);
const form = document.getElementById("policy");
const CONFIG = { displayModeBar: false, responsive: true };

function colour(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

function layout(x, y, more = {}) {
  const axis = { gridcolor: colour("--line"), zerolinecolor: colour("--line"), linecolor: colour("--line-strong") };
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: 12, color: colour("--dim") },
    margin: { l: 48, r: 12, t: 8, b: 42 },
    height: 260,
    showlegend: false,
    xaxis: { ...axis, title: { text: x } },
    yaxis: { ...axis, title: { text: y }, rangemode: "tozero" },
    ...more,
  };
}

function line(x, name) {
  return { type: "line", x0: x, x1: x, yref: "paper", y0: 0, y1: 1, line: { color: colour(name), width: 2 } };
}

function values() {
  const read = (name) => Number(form.elements[name].value);
  return { verify_min: read("verify_min"), fail_min: read("fail_min"), class_min: read("class_min") };
}

function lines({ verify_min: verify, fail_min: fail }) {
  return [line(verify, "--pass"), line(1 - fail, "--brain")];
}

function drawHistogram() {
  const box = document.getElementById("histogram");
  const total = histogram.counts.reduce((sum, count) => sum + count, 0);
  document.getElementById("no-histogram").hidden = total > 0;
  box.hidden = total === 0;
  if (!total) return;
  const width = 1 / histogram.counts.length;
  const bars = { type: "bar", x: histogram.edges.map((edge) => edge + width / 2), y: histogram.counts, width, marker: { color: colour("--neutral") }, hovertemplate: "%{y} scans<extra></extra>" };
  window.Plotly.react(box, [bars], layout("p(pass)", "Scans", { shapes: lines(values()), bargap: 0.05 }), CONFIG);
}

function drawCurve() {
  const box = document.getElementById("curve");
  box.hidden = curve.coverage.length === 0;
  if (box.hidden) return;
  const trace = { type: "scatter", mode: "lines", x: curve.coverage, y: curve.risk, line: { color: colour("--accent"), width: 2 }, hovertemplate: "%{x:.0%} decided, %{y:.1%} wrong<extra></extra>" };
  const shape = layout("Share decided without referral", "Wrong among them");
  shape.xaxis.tickformat = ".0%";
  shape.yaxis.tickformat = ".0%";
  window.Plotly.react(box, [trace], shape, CONFIG);
}

function showValues() {
  for (const output of form.querySelectorAll("output")) output.textContent = Number(form.elements[output.htmlFor.value].value).toFixed(3);
}

function redraw() {
  drawHistogram();
  drawCurve();
}

form.addEventListener("input", () => {
  showValues();
  if (histogram.counts.some(Boolean)) window.Plotly.relayout("histogram", { shapes: lines(values()) });
});
new MutationObserver(redraw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
showValues();
redraw();
