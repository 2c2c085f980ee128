// Rounds: what runs, what ran, and one of them explained.

import { $, ago, count, digits, duration, fill, h, now, score, words } from "./dom.js";

export const PHASES = ["collection", "validation", "aggregation", "detection", "distribution", "verification"];
const LASTING_MS = 800;
const OUTCOMES = { converged: ["✓ converged", "good"], not_converged: ["not yet", "quiet"], abandoned: ["✗ abandoned", "bad"], running: ["under way", "quiet"] };

const outcome = (name) => h("span", { class: OUTCOMES[name][1] }, OUTCOMES[name][0]);

function names(listed, total) {
  const more = total - listed.length;
  return listed.join(", ") + (more > 0 ? ` and ${more} more` : "");
}

export function drawLegend() {
  fill($("legend"), PHASES.slice(0, 5).map((phase, n) => h("span", {}, h("i", { class: `p${n + 1}` }), phase)));
}

export function drawRunning(running) {
  // What takes a moment only would but flicker.
  const lasting = running.filter((one) => one.kind === "synchronization" && now() - one.phases[0].started_ms > LASTING_MS);
  fill($("running"), lasting.map((one) => {
    const left = one.deadline_ms === null ? null : one.deadline_ms - now();
    const current = one.phases.at(-1).phase;
    return h("div", { class: "run" },
      h("p", {}, h("strong", {}, `${one.kind} ${one.number}`), ` is in ${current}`,
        left !== null && left > 0 && h("span", { class: "quiet" }, `, until ${duration(left)} from now at the latest`)),
      one.waits_count > 0 && h("p", { class: "quiet" }, `waits for ${names(one.waits_for.slice(0, 3), one.waits_count)}`),
      h("ol", {}, PHASES.map((phase) => {
        const seen = one.phases.find((each) => each.phase === phase);
        const done = seen?.duration_ms !== null && seen !== undefined;
        return h("li", { "aria-current": phase === current ? "step" : null }, done ? `${phase} ${duration(seen.duration_ms)}` : phase);
      })));
  }));
}

function bar(view, longest) {
  const total = view.duration_ms ?? 0;
  const share = (ms) => `${(100 * ms) / Math.max(1, longest)}%`;
  if (view.phases_ms === null) {
    return h("div", { class: "phases", "aria-hidden": "true" }, h("i", { class: "p0", width: share(total) }));
  }
  const said = view.phases_ms.map((ms, n) => `${PHASES[n]} ${duration(ms)}`).join(", ");
  return h("div", { title: said }, h("div", { class: "phases", "aria-hidden": "true" },
    view.phases_ms.map((ms, n) => h("i", { class: `p${n + 1}`, width: share(ms) }))), h("span", { class: "hidden" }, said));
}

export function drawRounds(views, explain) {
  const latest = views.slice(-12).reverse();
  const longest = Math.max(1, ...latest.map((view) => view.duration_ms ?? 0));
  const body = $("rounds").tBodies[0];
  if (!latest.length) {
    fill(body, h("tr", {}, h("td", { class: "empty", colspan: 5 }, "No round has ended yet.")));
    return;
  }
  fill(body, latest.map((view) => h("tr", {},
    h("th", { scope: "row" }, h("button", { type: "button", class: "link", "data-focus": `${view.kind}/${view.number}`, "aria-haspopup": "dialog",
      onclick: () => explain(view.kind, view.number) }, `${view.kind === "update" ? "update" : "sync"} ${view.number}`)),
    h("td", {}, ago(view.ended_ms)),
    h("td", {}, outcome(view.outcome)),
    h("td", { class: view.outcome === "abandoned" ? "wrap quiet" : "" }, view.outcome === "abandoned" ? words(view.notes[0]) : bar(view, longest)),
    h("td", { class: "number" }, duration(view.duration_ms)))));
}

export function costs(criteria) {
  const unmet = criteria.filter((one) => !one.met).sort((a, b) => a.distance - b.distance);
  return unmet.map((one) => {
    const most = Math.max(...one.costliest.map((cost) => cost.cost), 1e-9);
    return h("div", {},
      h("h3", {}, `${one.name[0].toUpperCase()}${one.name.slice(1)} `, h("span", {},
        `${score(one.value, digits(one.distance))}, ${score(-one.distance, digits(one.distance))} ${one.name === "variance" ? "too much" : `short of ${score(one.threshold)}`}`)),
      one.costliest.length === 0 && h("p", { class: "quiet" }, "It belongs to the patterns: what is shared is not yet held by enough instances, or not strongly."),
      one.costliest.map((cost) => h("div", { class: "cost" },
        h("b", { title: cost.instance_id }, cost.instance_id), h("span", { class: "number" }, `−${score(cost.cost, 3)}`),
        h("span", { class: "bar", "aria-hidden": "true" }, h("i", { width: `${(100 * cost.cost) / most}%` })),
        h("span", { class: "because" }, cost.because))));
  });
}

export function notes(one) {
  const lines = [];
  const note = (title, ...said) => lines.push(h("p", {}, h("b", {}, title), " ", ...said));
  for (const [reason, n] of Object.entries(one.dropped_count)) {
    const known = one.dropped.filter((each) => each.reason === reason);
    note(`Left out, ${words(reason)}:`, known.length ? `${names(known.slice(0, 5).map((each) => each.instance_id), n)} (${known[0].because})` : count(n, "instance"));
  }
  if (one.straggler_count) note("Stragglers:", `${names(one.stragglers.slice(0, 5), one.straggler_count)}, in with an earlier report`);
  if (one.unacknowledged_count) note("Did not acknowledge the knowledge:", names(one.unacknowledged.slice(0, 5), one.unacknowledged_count));
  return lines;
}

export function drawWhy(explanation, abandoned) {
  const nearest = explanation?.criteria.toSorted((a, b) => a.distance - b.distance)[0];
  const nothing = explanation === null ? "Nothing was scored yet."
    : explanation.outcome === "converged" ? `Nothing. The narrowest margin is that of ${nearest.name}: ${score(nearest.distance, 3)}.` : null;
  fill($("why"),
    nothing && h("p", { class: "quiet" }, nothing),
    explanation && h("div", { class: "costs" }, costs(explanation.criteria)),
    explanation && h("div", { class: "notes" }, notes(explanation)));
  fill($("abandoned"), abandoned && h("div", { class: "alert" },
    h("p", {}, h("strong", {}, abandoned.round_id.split("/").slice(1).join(" ")), " ", abandoned.sentence), notes(abandoned)));
}

export function drawExplained(one) {
  $("explained-title").textContent = one.round_id.split("/").slice(1).join(" ");
  const total = one.phases.reduce((sum, phase) => sum + (phase.duration_ms ?? 0), 0);
  fill($("explained-body"),
    h("p", {}, one.sentence),
    h("p", { class: "notes" }, `${count(one.cohort, "instance")} in the cohort, ${one.quorum} needed`
      + (one.library === null ? "" : `; ${count(one.library, "shared pattern")}`)
      + (one.released === null ? "" : `; ${one.released} released, ${one.emerged} emerged, ${one.withheld} withheld`)),
    one.criteria.length > 0 && h("table", {},
      h("thead", {}, h("tr", {}, ["Criterion", "Value", "Threshold", "Distance"].map((title, n) => h("th", { scope: "col", class: n ? "number" : null }, title)))),
      h("tbody", {}, one.criteria.map((each) => h("tr", {}, h("th", { scope: "row" }, each.name),
        h("td", { class: "number" }, score(each.value, 4)), h("td", { class: "number" }, score(each.threshold, 4)),
        h("td", { class: `number ${each.met ? "good" : "bad"}` }, `${each.met ? "✓ " : "✗ −"}${score(Math.abs(each.distance), 4)}`))))),
    h("div", { class: "costs notes" }, costs(one.criteria)),
    h("div", { class: "notes" }, notes(one)),
    one.phases.length > 0 && h("div", { class: "notes" },
      h("div", { class: "phases", "aria-hidden": "true" }, one.phases.map((phase) => h("i", { class: `p${PHASES.indexOf(phase.phase) + 1}`, width: `${(100 * (phase.duration_ms ?? 0)) / Math.max(1, total)}%` }))),
      h("p", {}, one.phases.map((phase) => `${phase.phase} ${duration(phase.duration_ms)}`).join(" · "))));
}
