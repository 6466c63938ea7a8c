"use strict";

const HOLD_MS = 350; // how long a choice is shown; a double click must not answer twice
const [GAP, CAPTION] = [8, 28]; // pixels, and so in the style
const LEAST = 130; // pixels, the width below which the images scroll instead

const $ = (id) => document.getElementById(id);
const study = JSON.parse($("study").textContent);
const checksum = document.documentElement.dataset.checksum;
const storeName = `opmask-study-${checksum}`;

let session = null; // what is stored; null until a participant has started
let trials = []; // in the order of this participant
let [shownSince, holding] = [0, false];

/** Numbers in [0, 1): xorshift32 (Xorshift RNGs, Marsaglia, 2003). */
function generator(seed) {
  let x = seed >>> 0 || 1;
  const draw = () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) / 4294967296;
  };
  for (let i = 0; i < 16; i++) draw(); // small seeds start slowly
  return draw;
}

/** Each order is equally likely (Fisher and Yates). */
function shuffled(items, draw) {
  const out = [...items];
  for (let i = out.length - 1; i > 0; i--) {
    const j = Math.floor(draw() * (i + 1));
    [out[i], out[j]] = [out[j], out[i]];
  }
  return out;
}

/** The trials of a participant in their order, and the choices of each in theirs. */
function plan(seed) {
  const draw = generator(seed);
  const mixed = (trial) => ({ ...trial, choices: shuffled(trial.choices, draw) });
  return shuffled(study.trials, draw).map(mixed);
}

function save() {
  try {
    localStorage.setItem(storeName, JSON.stringify(session));
  } catch {
    $("notice").hidden = false;
  }
}

function begin(participant) {
  const seed = crypto.getRandomValues(new Uint32Array(1))[0];
  session = {
    participant: participant || `anonymous-${seed.toString(16).padStart(8, "0")}`, seed,
    started: new Date().toISOString(), finished: null, place: 0, answers: {}, seconds: {},
  };
  save();
  show();
}

function exported() {
  const answers = trials.filter(({ key }) => key in session.answers).map(({ key, choices }) => ({
    trial: key, order: choices.map((choice) => choice.key), choice: session.answers[key],
    seconds: Math.round(session.seconds[key] * 1000) / 1000,
  }));
  const { participant, seed, started, finished } = session;
  const page = { opmask_study: study.format, version: study.version, checksum };
  return JSON.stringify({ ...page, participant, seed, started, finished, answers }, null, 1);
}

function show() {
  trials = session === null ? [] : plan(session.seed);
  const ended = session?.place === trials.length;
  $("start").hidden = session !== null;
  $("trial").hidden = session === null || ended;
  $("end").hidden = !ended;
  $("progress-row").hidden = session === null;
  if (session === null) return;
  $("progress").value = Object.keys(session.answers).length / trials.length;
  $("progress-text").textContent = ended
    ? "All images answered" : `Image ${session.place + 1} of ${trials.length}`;
  if (ended) showEnd();
  else showTrial(trials[session.place]);
}

function cell(tag, source, alt, name) {
  const element = document.createElement(tag);
  element.innerHTML = '<span class="frame"><img draggable="false"></span><span class="name"></span>';
  Object.assign(element.querySelector("img"), { src: source, alt });
  element.lastChild.textContent = name;
  element.lastChild.setAttribute("aria-hidden", true); // the alternative text says as much
  return element;
}

function showTrial({ key, input, choices }) {
  const cells = choices.map((choice, i) => {
    const button = cell("button", choice.image, `Version ${i + 1} of ${choices.length}`, i + 1);
    button.setAttribute("aria-pressed", session.answers[key] === choice.key);
    button.addEventListener("click", () => choose(i));
    return button;
  });
  if (input) cells.unshift(cell("div", input, "The image before, for reference", "Before"));
  $("grid").replaceChildren(...cells);
  $("back").disabled = session.place === 0;
  $("next").disabled = !(key in session.answers);
  zoom(false);
  look(50, 50);
  fit();
  $("question").focus({ preventScroll: true });
  shownSince = performance.now();
}

/** Lays the images out as large as they go without scrolling, at most twice their size. */
function fit() {
  const grid = $("grid"), count = grid.children.length;
  const [width, height] = trials[session.place].size;
  const [w, h] = [grid.clientWidth - 2 * GAP, grid.clientHeight - 2 * GAP];
  let [columns, side] = [1, 0];
  for (let n = 1; n <= count; n++) {
    const rows = Math.ceil(count / n);
    const room = (h - GAP * (rows - 1)) / rows - CAPTION;
    const fits = Math.min((w - GAP * (n - 1)) / n, (room * width) / height);
    if (fits > side) [columns, side] = [n, fits];
  }
  side = Math.min(Math.max(side, LEAST), 2 * width, w);
  grid.style.gridTemplateColumns = `repeat(${columns}, ${side}px)`;
  grid.style.setProperty("--ratio", width / height);
}

function showEnd() {
  session.finished ??= new Date().toISOString();
  save();
  $("answers").value = exported();
  $("said").textContent = "";
  $("thanks").focus();
}

function countTime() {
  const { key } = trials[session.place];
  session.seconds[key] = (session.seconds[key] ?? 0) + (performance.now() - shownSince) / 1000;
  shownSince = performance.now();
}

function choose(position) {
  if (holding) return;
  const { key, choices } = trials[session.place];
  countTime();
  session.answers[key] = choices[position].key;
  session.finished = null;
  save();
  $("grid").querySelectorAll("button").forEach((button, i) => {
    button.setAttribute("aria-pressed", i === position);
  });
  holding = true;
  setTimeout(() => { holding = false; go(1); }, HOLD_MS);
}

function go(step) {
  if (holding) return;
  session.place += step;
  save();
  show();
}

function zoom(on) {
  $("grid").classList.toggle("zoomed", on);
  $("zoom").setAttribute("aria-pressed", on);
}

/** Moves all enlarged images to one place, in percent from the upper left. */
function look(x, y) {
  for (const [name, value] of [["--x", x], ["--y", y]]) {
    $("grid").style.setProperty(name, `${Math.min(Math.max(value, 0), 100)}%`);
  }
}

function onPoint({ target, clientX, clientY }) {
  const box = target.closest(".frame")?.getBoundingClientRect();
  if (box) look((100 * (clientX - box.left)) / box.width, (100 * (clientY - box.top)) / box.height);
}

function onKey(event) {
  if ($("trial").hidden || event.ctrlKey || event.metaKey || event.altKey) return;
  const { key } = event, { classList, style } = $("grid"), zoomed = classList.contains("zoomed");
  const step = { ArrowLeft: [-10, 0], ArrowRight: [10, 0], ArrowUp: [0, -10], ArrowDown: [0, 10] }[key];
  if (zoomed && step) {
    const at = ["--x", "--y"].map((name) => parseFloat(style.getPropertyValue(name)));
    look(at[0] + step[0], at[1] + step[1]);
  } else if (event.repeat) return;
  else if (/^[1-9]$/.test(key) && key <= study.trials[0].choices.length) choose(key - 1);
  else if (key === "z" || key === "Z") zoom(!zoomed);
  else if (key === "Escape") zoom(false);
  else if (key === "ArrowLeft" || key === "Backspace") $("back").click();
  else if (key === "ArrowRight") $("next").click();
  else return;
  event.preventDefault();
}

function download() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([exported()], { type: "application/json" }));
  const name = session.participant.replace(/[^\w-]+/g, "_");
  link.download = `answers-${name}-${session.seed.toString(16)}.json`;
  link.click();
  $("said").textContent = `Saved as ${link.download}.`;
}

async function copy() {
  try {
    await navigator.clipboard.writeText(exported());
    $("said").textContent = "Copied.";
  } catch { // not allowed, or not there because the page came over plain HTTP
    document.querySelector("details").open = true;
    $("answers").select();
    $("said").textContent = document.execCommand("copy") ? "Copied." : "Please copy the text below.";
  }
}

function again() {
  if (!confirm("Start anew for the next participant? Answers not yet saved are lost.")) return;
  session = null;
  save();
  location.reload();
}

$("trials").textContent = study.trials.length;
const actions = {
  back: () => go(-1), next: () => go(1), review: () => go(-1), download, sofar: download, copy, again,
  zoom: () => zoom(!$("grid").classList.contains("zoomed")),
};
for (const [id, action] of Object.entries(actions)) $(id).addEventListener("click", action);
$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  begin($("participant").value.trim());
});
$("grid").addEventListener("pointermove", onPoint);
document.addEventListener("keydown", onKey);
document.addEventListener("visibilitychange", () => {
  if (!$("trial").hidden && document.hidden) countTime();
  shownSince = performance.now();
});
window.addEventListener("resize", () => $("trial").hidden || fit());
try {
  session = JSON.parse(localStorage.getItem(storeName));
} catch { /* the notice follows when it cannot be written either */ }
show();
