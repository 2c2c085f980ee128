// Instances, workers, what was refused, and what is shared.

import { $, ago, count, fill, h, percent, score, words } from "./dom.js";

const STATUS = { active: ["active", "good"], degraded: ["degraded", "warn"], inactive: ["inactive", "bad"], unknown: ["never seen", "quiet"] };
const LAG = {
  ok: ["ok", "good"], warning: ["falling behind", "warn"], rewound: ["went back", "warn"],
  stalled: ["stalled", "bad"], stopped: ["stopped", "bad"],
};
const cell = (...children) => h("td", {}, ...children);
const number = (value, wide = "") => h("td", { class: `number ${wide}` }, value);

function notTaken(report) {
  if (report === null) return "";
  if (report.outcome.startsWith("refused:")) return h("span", { class: "bad" }, `whole report: ${words(report.outcome.slice(8))}`);
  return Object.entries(report.rejected).map(([reason, n]) => `${n} ${words(reason)}`).join(", ");
}

function outside(standing) {
  if (standing?.drop_reason) return h("span", { class: "warn" }, ` · ${words(standing.drop_reason)}`);
  return standing?.straggler ? h("span", { class: "warn" }, " · straggler") : null;
}

export function drawInstances({ total, instances }, first) {
  fill($("instances").tBodies[0], instances.length === 0
    ? h("tr", {}, h("td", { class: "empty", colspan: 11 }, "No instance."))
    : instances.map((one) => h("tr", {},
      h("th", { scope: "row", class: "name", title: `${one.instance_id} of ${one.organisation}` }, one.instance_id, h("span", { class: "wide" }, ` ${one.organisation}`)),
      cell(h("span", { class: STATUS[one.status][1] }, STATUS[one.status][0]), outside(one.standing)),
      number(score(one.standing?.drop_reason === null ? one.standing.weight : one.weight)),
      number(percent(one.reliability), "wide"), number(percent(one.data_quality), "wide"), number(score(one.volume), "wide"),
      number(score(one.standing?.alignment)), number(percent(one.standing?.coverage)),
      h("td", { class: `number ${one.standing?.cost ? "bad" : ""}` }, one.standing?.cost ? `−${score(one.standing.cost, 3)}` : "–"),
      h("td", { class: "wide" }, one.report ? [ago(one.report.at_ms), h("span", { class: "quiet" }, ` ${one.report.accepted} of ${count(one.report.received, "row")}`)] : "–"),
      h("td", { class: "wide wrap" }, notTaken(one.report)))));
  const last = Math.min(first + instances.length, total);
  $("instances-count").textContent = total ? `${first + 1}–${last} of ${total.toLocaleString("en")}` : "";
}

export function drawWorkers(workers) {
  fill($("workers").tBodies[0], workers.length === 0
    ? h("tr", {}, h("td", { class: "empty", colspan: 6 }, "No worker was seen yet."))
    : workers.map((one) => {
      const bad = one.partitions.filter((partition) => partition.state !== "ok").map((partition) => `${partition.number} ${LAG[partition.state][0]}`);
      const free = one.partitions.filter((partition) => partition.member === null).length;
      return h("tr", {},
        h("th", { scope: "row" }, one.worker),
        cell(h("span", { class: LAG[one.state][1] }, one.state === "ok" ? "✓ ok" : `✗ ${LAG[one.state][0]}`)),
        number(one.lag.toLocaleString("en")), number(one.members),
        cell(h("span", { class: "squares", "aria-hidden": "true" }, one.partitions.map((partition) => h("i", { class: partition.state,
          title: `${partition.number}: ${LAG[partition.state][0]}, ${partition.lag} behind, ${partition.member ?? "nobody holds it"}` }))),
        h("span", { class: "hidden" }, `${one.partitions.length} partitions${bad.length ? `: ${bad.join(", ")}` : ", all ok"}`),
        free > 0 && h("span", { class: "bad" }, ` ${free} held by nobody`)),
        cell(one.last_progress_ms === null ? h("span", { class: "quiet" }, "idle") : ago(one.last_progress_ms)));
    }));
}

export function drawRefusals(refusals) {
  const rows = Object.entries(refusals.rows);
  fill($("refusals"),
    refusals.reasons.length === 0
      ? h("p", { class: "quiet" }, "No record was refused.")
      : h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Records"), h("th", { scope: "col", class: "number" }, "How many"), h("th", { scope: "col" }, "By"), h("th", { scope: "col" }, "Last"))),
        h("tbody", {}, refusals.reasons.map((one) => h("tr", {}, h("th", { scope: "row" }, words(one.reason)), number(one.count.toLocaleString("en")), cell(one.stages.join(", ")), cell(ago(one.last_ms)))))),
    refusals.letters.length > 0 && h("p", { class: "notes" }, "The last one stands at ", h("span", { class: "mono" }, refusals.letters[0].source)),
    h("p", { class: "notes" }, rows.length === 0 ? `No row of ${refusals.rows_received.toLocaleString("en")} was refused.`
      : h("span", {}, h("b", {}, "Rows: "), rows.map(([reason, n]) => `${n.toLocaleString("en")} ${words(reason)}`).join(", "), ` of ${refusals.rows_received.toLocaleString("en")}`)));
}

export function drawPatterns(patterns) {
  $("patterns-count").textContent = patterns.released ? `${patterns.released.toLocaleString("en")} released` : "";
  fill($("patterns").tBodies[0], patterns.patterns.length === 0
    ? h("tr", {}, h("td", { class: "empty", colspan: 7 }, "None is held by enough organisations yet."))
    : patterns.patterns.slice(0, 12).map((one) => h("tr", {},
      h("th", { scope: "row", class: "mono", title: one.pattern_id }, one.pattern_id.slice(0, 12)),
      cell(one.pattern_type), number(`${one.organisations}+`), number(score(one.strength)), number(score(one.consensus_score)), number(one.emerged === null ? "–" : `sync ${one.emerged}`), number(`sync ${one.number}`))));
}
