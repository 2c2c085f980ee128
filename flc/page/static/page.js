// The page: the state it begins with, the stream that keeps it current, and what is drawn of it.

import { $, count, duration, fill, h, setClock, text, tick } from "./dom.js";
import { drawCriteria, recolourCharts } from "./criteria.js";
import { drawExplained, drawLegend, drawRounds, drawRunning, drawWhy } from "./rounds.js";
import { drawInstances, drawPatterns, drawRefusals, drawWorkers } from "./tables.js";

const PAGE = 25;
const REMEMBERED = 60;
const STALE_MS = 6_000;

const seen = { sections: {}, latest: [], synchronizations: [], points: null, cursor: -1 };
const dirty = new Set();
let stream = null;
let heard = 0;
let connected = false;
let first = 0;

// -- what comes in

async function begin() {
  const answer = await fetch("state");
  if (!answer.ok) throw new Error(`state: ${answer.status}`);
  const { sections, rounds } = await answer.json();
  Object.assign(seen, { sections, ...rounds });
  heard = performance.now();
  for (const name of [...Object.keys(sections), "rounds"]) dirty.add(name);
  draw();
  listen();
}

function listen() {
  stream = new EventSource(`events?after=${seen.cursor}`);
  stream.addEventListener("round", (event) => ended(JSON.parse(event.data)));
  stream.addEventListener("sections", (event) => {
    const changed = JSON.parse(event.data);
    Object.assign(seen.sections, changed);
    Object.keys(changed).forEach((name) => dirty.add(name));
    soon();
  });
  stream.addEventListener("beat", (event) => {
    const beat = JSON.parse(event.data);
    heard = performance.now();
    connected = beat.connected;
    setClock(beat.now_ms);
    contact();
  });
  stream.addEventListener("reset", again);
  // A browser comes back by itself after a cut, not after a refusal.
  stream.addEventListener("error", () => { if (stream.readyState === EventSource.CLOSED) again(); });
}

function again() {
  stream?.close();
  setTimeout(() => begin().catch(again), 1_000);
}

function ended(view) {
  seen.cursor = view.offset;
  const keep = (list) => { list.push(view); if (list.length > REMEMBERED) list.shift(); };
  keep(seen.latest);
  if (view.kind === "synchronization") keep(seen.synchronizations);
  if (view.convergence !== null) {
    seen.points.at_ms.push(view.ended_ms);
    for (const name of ["convergence", "alignment", "variance", "emergence"]) seen.points[name].push(view[name]);
    if (seen.points.at_ms.length > 3_000) Object.values(seen.points).forEach((column) => column.shift());
  }
  dirty.add("rounds");
  soon();
}

// -- what is drawn

let waiting = false;
function soon() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; draw(); });
}

function draw() {
  const { sections } = seen;
  const changed = (...names) => names.some((name) => dirty.has(name));
  if (changed("federation")) {
    text("federation", sections.federation);
    document.title = `${sections.federation} · federated learning`;
  }
  if (changed("explanation", "patterns", "withheld")) drawVerdict(sections);
  if (changed("explanation", "rounds") && sections.explanation) drawCriteria(sections.explanation.criteria, seen.points);
  if (changed("explanation", "abandoned")) drawWhy(sections.explanation, sections.abandoned);
  if (changed("running")) drawRunning(sections.running);
  if (changed("rounds")) drawRounds($("updates").checked ? seen.latest : seen.synchronizations, explain);
  if (changed("workers")) drawWorkers(sections.workers);
  if (changed("refusals")) drawRefusals(sections.refusals);
  if (changed("patterns")) drawPatterns(sections.patterns);
  if (changed("instances", "workers", "refusals")) drawHealth(sections);
  if (changed("as_of_ms")) instancesSoon();
  dirty.clear();
}

function drawVerdict({ explanation, patterns, withheld }) {
  if (explanation === null) return;
  const [, kind, number] = explanation.round_id.split("/");
  const took = explanation.phases.reduce((sum, phase) => sum + (phase.duration_ms ?? 0), 0);
  text("sentence", explanation.sentence);
  $("sentence").className = explanation.outcome === "converged" ? "good" : "";
  text("scored", `${kind} ${number}, scored after ${duration(took)}`);
  const said = [`${count(explanation.cohort, "instance")} in the cohort`, `${count(explanation.library, "shared pattern")}`, `${patterns.released} released`];
  if (explanation.emerged !== null) said.push(`${explanation.emerged} emerged`);
  if (withheld !== null) said.push(`${withheld} withheld, below the release threshold`);
  text("totals", said.join(" · "));
}

function drawHealth({ instances, workers, refusals }) {
  const troubled = workers.filter((one) => one.state !== "ok");
  const trouble = troubled.length > 2 ? `${troubled.length} of ${workers.length} not ok` : troubled.map((one) => `${one.worker} ${one.state}`).join(", ");
  const status = Object.entries(instances.by_status).filter(([, n]) => n > 0).map(([name, n]) => `${n} ${name === "unknown" ? "never seen" : name}`);
  const well = instances.by_status.active === instances.total;
  fill($("health"),
    h("a", { href: "#workers-section", "data-focus": "workers" }, "Workers ", h("b", { class: troubled.length ? "bad" : "good" },
      trouble ? trouble : workers.length ? `${workers.length} ok` : "–")),
    h("a", { href: "#instances-section", "data-focus": "instances" }, "Instances ", h("b", { class: well ? "good" : "warn" }, status.join(", ") || "none")),
    h("a", { href: "#refusals-section", "data-focus": "refusals" }, "Refused ", h("b", { class: refusals.records ? "warn" : "good" }, refusals.records ? count(refusals.records, "record") : "nothing")));
  $("cost-of").title = instances.cost_of ? `What it costs ${instances.cost_of}` : "Every criterion is met";
}

function contact() {
  const silent = performance.now() - heard;
  const [said, kind] = silent > STALE_MS ? [`stale: no contact for ${Math.round(silent / 1000)} s`, "bad"]
    : !connected ? ["stale: the bus does not answer", "bad"] : ["live", "good"];
  text("contact", said);
  $("contact").className = `badge ${kind}`;
}

// -- instances: the server sorts and filters, so that a thousand cost what twenty-five do

let asked = 0;
let timer = null;
function instancesSoon(wait = 1_000) {
  clearTimeout(timer);
  timer = setTimeout(showInstances, Math.max(0, Math.min(wait, asked + wait - performance.now())));
}

async function showInstances() {
  asked = performance.now();
  const query = new URLSearchParams({ order: $("order").value, match: $("match").value.trim().toLowerCase(), first, count: PAGE });
  const answer = await fetch(`instances?${query}`).catch(() => null);
  if (!answer?.ok) return;
  const page = await answer.json();
  if (first >= page.total && first > 0) { first = 0; showInstances(); return; }
  drawInstances(page, first);
  const step = (by, said) => h("button", { type: "button", "data-focus": said, disabled: first + by < 0 || first + by >= page.total,
    onclick: () => { first = Math.max(0, first + by); showInstances(); } }, said);
  fill($("pages"), page.total > PAGE && [step(-PAGE, "Previous"), step(PAGE, "Next")]);
}

async function explain(kind, number) {
  const answer = await fetch(`rounds/${kind}/${number}`).catch(() => null);
  if (answer?.ok) drawExplained(await answer.json());
  else {
    $("explained-title").textContent = `${kind} ${number}`;
    fill($("explained-body"), h("p", {}, answer ? await answer.text() : "The server does not answer."));
  }
  $("explained").showModal();
}

$("explained-close").addEventListener("click", () => $("explained").close());
$("updates").addEventListener("change", () => { dirty.add("rounds"); draw(); });
for (const [id, event] of [["order", "change"], ["match", "input"]]) $(id).addEventListener(event, () => { first = 0; instancesSoon(120); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolourCharts);
setInterval(() => { tick(); contact(); if (seen.sections.running?.length) drawRunning(seen.sections.running); }, 1_000);
drawLegend();
begin().catch(again);
