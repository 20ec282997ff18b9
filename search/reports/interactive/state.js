// What a reader has chosen, as a value that the address of the page holds, and how figures are written.
"use strict";

const NONE = { x: "", y: "", limits: {}, brush: null, ranges: {}, gene: null, pins: [], at: null, zoom: null };
const MOST_PINS = 4, PIN_NAMES = "ABCD";

/** The state that an address says; whatever it says wrongly is left out. */
function readState(report, hash) {
  const words = new URLSearchParams(hash.replace(/^#/, ""));
  const named = report.runs.findIndex((run) => run.name === words.get("run"));
  const which = Math.max(0, named), run = report.runs[which];
  const keys = run.axes.map((axis) => axis.key), trials = new Set(run.trial);
  const numbers = (text) => (text || "").split(",").filter(Boolean).map(Number).filter(Number.isFinite);
  const pair = (text) => { const found = numbers(text); return found.length === 2 ? found : null; };
  const state = { ...NONE, limits: {}, ranges: {}, run: which };
  state.x = keys.includes(words.get("x")) ? words.get("x") : run.x;
  state.y = keys.includes(words.get("y")) ? words.get("y") : run.y;
  for (const key of keys) {
    if (pair(words.get(`range.${key}`))) state.ranges[key] = pair(words.get(`range.${key}`));
    if (words.has(`limit.${key}`) && Number.isFinite(Number(words.get(`limit.${key}`)))) {
      state.limits[key] = Number(words.get(`limit.${key}`));
    }
  }
  const [brush, zoom] = ["brush", "zoom"].map((name) => numbers(words.get(name)));
  if (brush.length === 4) state.brush = { x: brush.slice(0, 2), y: brush.slice(2) };
  if (zoom.length === 4) state.zoom = { x: zoom.slice(0, 2), y: zoom.slice(2) };
  const gene = (words.get("gene") || "").split(":");
  const digit = run.widths.map(String).indexOf(gene[1]);
  if (run.gene_names.includes(gene[0]) && digit >= 0) {
    state.gene = { gene: run.gene_names.indexOf(gene[0]), digit };
  }
  state.pins = numbers(words.get("pins")).filter((trial) => trials.has(trial)).slice(0, MOST_PINS);
  const at = Number(words.get("at"));
  state.at = words.has("at") && at >= 1 ? Math.min(Math.round(at), run.trial.length) : null;
  state.others = words.get("others") === "1";
  state.theme = ["light", "dark"].includes(words.get("theme")) ? words.get("theme") : "auto";
  return state;
}

/** The address that says a state; what is as at first is left out. */
function writeState(report, state) {
  const run = report.runs[state.run], words = new URLSearchParams();
  const short = (value) => String(Number(value.toPrecision(6)));
  if (report.runs.length > 1) words.set("run", run.name);
  if (state.x !== run.x) words.set("x", state.x);
  if (state.y !== run.y) words.set("y", state.y);
  for (const [key, value] of Object.entries(state.limits)) words.set(`limit.${key}`, String(value));
  for (const [key, ends] of Object.entries(state.ranges)) words.set(`range.${key}`, ends.map(short).join(","));
  for (const name of ["brush", "zoom"]) {
    if (state[name]) words.set(name, [...state[name].x, ...state[name].y].map(short).join(","));
  }
  if (state.gene) words.set("gene", `${run.gene_names[state.gene.gene]}:${run.widths[state.gene.digit]}`);
  if (state.pins.length) words.set("pins", state.pins.join(","));
  if (state.at !== null) words.set("at", String(state.at));
  if (state.others) words.set("others", "1");
  if (state.theme !== "auto") words.set("theme", state.theme);
  return words.toString();
}

/** An element with attributes and children; texts are texts, whatever they hold. */
function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

const axisOf = (run, key) => run.axes.find((axis) => axis.key === key);
const known = (value) => value !== null && value !== undefined && Number.isFinite(value);

function written(axis, value) {
  if (!known(value)) return "\u2014";
  return value.toFixed(axis.decimals);
}

function withUnit(axis, value) {
  return known(value) ? `${written(axis, value)}${axis.unit && axis.unit !== "bits" ? ` ${axis.unit}` : ""}` : "\u2014";
}

function download(name, text, type) {
  const link = el("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/** The position among the formats that a digit of a trial's genes stands for; NaN where none is recorded. */
const placeOf = (digit) => parseInt(digit, 36);

/** A cell of a table with commas; one that a spreadsheet would take for a formula is no formula any more. */
function csvCell(value) {
  let text = value === null || value === undefined ? "" : String(value);
  if (typeof value === "string" && /^[=+@\t\r-]/.test(text)) text = `'${text}`;
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function csvOf(run, rows) {
  const header = ["trial", "group", "reason", ...run.axes.map((axis) => axis.key), ...run.gene_names];
  const lines = rows.map((row) => [
    run.trial[row], run.groups[run.group[row]], run.reason[row],
    ...run.axes.map((axis) => run.values[axis.key][row]),
    ...Array.from(run.genes[row], (digit) => run.widths[placeOf(digit)]),
  ]);
  return [header, ...lines].map((line) => line.map(csvCell).join(",")).join("\r\n") + "\r\n";
}
