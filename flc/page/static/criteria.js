// The four criteria: where each stands, how far that is from its threshold, and how it got there.

import { $, digits, h, score } from "./dom.js";

const cards = new Map();

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function clock(seconds, place, all) {
  const fine = all.length > 1 && all[1] - all[0] < 60;
  return new Date(seconds * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", ...(fine && { second: "2-digit" }) });
}

function chart(node, name, points, threshold) {
  const data = [points.at_ms.map((ms) => ms / 1000), points[name], points.at_ms.map(() => threshold)];
  const axis = { stroke: () => colour("--quiet"), grid: { show: false }, ticks: { show: false }, font: "10px system-ui, sans-serif" };
  const range = (_, low, high) => {
    const [least, most] = [Math.min(low ?? threshold, threshold), Math.max(high ?? threshold, threshold)];
    const room = Math.max(0.02, (most - least) * 0.12);
    return [Math.max(0, least - room), Math.min(1, most + room)];
  };
  return new uPlot({
    width: node.clientWidth, height: 92, legend: { show: false }, padding: [4, 6, 0, 0],
    cursor: { sync: { key: "criteria" }, points: { size: 5 }, drag: { x: false, y: false } },
    scales: { y: { range } },
    axes: [{ ...axis, size: 18, gap: 2, space: 70, values: (_, seconds) => seconds.map(clock) }, { ...axis, size: 32, gap: 4, space: 26 }],
    series: [
      {},
      { stroke: () => colour("--accent"), width: 1.75, points: { show: points.at_ms.length < 3, size: 5 } },
      { stroke: () => colour("--quiet"), width: 1, dash: [4, 4], points: { show: false } },
    ],
  }, data, node);
}

function card(criterion) {
  const parts = {
    value: h("span", { class: "value" }), state: h("span", { class: "state" }), asked: h("span", { class: "asked" }),
    fill: h("i"), tick: h("b"), chart: h("div", { class: "chart", role: "img" }), plot: null,
  };
  parts.gauge = h("div", { class: "gauge", "aria-hidden": "true" }, parts.fill, parts.tick);
  parts.node = h("li", {},
    h("div", { class: "criterion" }, h("h3", {}, criterion.name), parts.state, parts.value, parts.asked),
    parts.gauge, parts.chart);
  return parts;
}

// A chart is as wide as its card, which is settled when all four are there, and changes with the window.
const sizes = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const { plot } = [...cards.values()].find((parts) => parts.chart === target);
    if (plot && plot.width !== target.clientWidth) plot.setSize({ width: target.clientWidth, height: 92 });
  }
});

export function drawCriteria(criteria, points) {
  for (const criterion of criteria.filter(({ name }) => !cards.has(name))) {
    const made = card(criterion);
    cards.set(criterion.name, made);
    $("criteria").append(made.node);
    sizes.observe(made.chart);
  }
  for (const { name, value, threshold, met, distance } of criteria) {
    const parts = cards.get(name);
    const lower = name === "variance";
    const asked = `must ${lower ? "stay below" : "exceed"} ${score(threshold)}`;
    const state = met ? `met by ${score(distance, digits(distance))}` : `${score(-distance, digits(distance))} ${lower ? "too much" : "short"}`;
    parts.value.textContent = score(value, digits(distance));
    parts.asked.textContent = asked;
    parts.state.textContent = `${met ? "✓" : "✗"} ${state}`;
    parts.state.className = `state ${met ? "good" : "bad"}`;
    const scale = lower ? Math.max(2 * threshold, value) : 1;
    parts.gauge.className = `gauge ${met ? "good" : "bad"}`;
    parts.fill.style.width = `${(100 * value) / scale}%`;
    parts.tick.style.left = `${(100 * threshold) / scale}%`;
    const from = points[name]?.at(0);
    parts.chart.setAttribute("aria-label",
      `${name} over the last ${points.at_ms.length} rounds: from ${score(from)} to ${score(value)}, ${asked}`);
    if (!window.uPlot) continue;
    if (parts.plot === null) parts.plot = chart(parts.chart, name, points, threshold);
    else parts.plot.setData([points.at_ms.map((ms) => ms / 1000), points[name], points.at_ms.map(() => threshold)]);
  }
}

export function recolourCharts() {
  for (const parts of cards.values()) parts.plot?.redraw(false, true);
}
