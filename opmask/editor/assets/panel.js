// The panel: a row for each mask. Moves are collected, and sent when they pause or when the answer
// to those before has come, so that a slow render never queues up.
const $ = (selector) => element.querySelector(selector);
const PAUSE = 90; // ms
const PATIENCE = 20000; // ms, after which an answer is not waited for
const rows = new Map();
const waiting = new Map();
let timer = 0, busySince = 0, serial = -1;

function move(key, change) {
  waiting.set(key, change);
  clearTimeout(timer);
  timer = setTimeout(flush, PAUSE);
}

function flush() {
  if (!waiting.size || (busySince && Date.now() - busySince < PATIENCE)) return;
  const changes = [...waiting.values()];
  waiting.clear();
  busySince = Date.now();
  trigger("input", { changes });
}

function percent(value) {
  return `${Math.round(100 * value)} %`;
}

function signed(row, value) {
  const scaled = value * row.scale, digits = row.unit ? 0 : 2;
  const sign = scaled > 0 ? "+" : scaled < 0 ? "\u2212" : "\u00b1";
  return `${sign}${Math.abs(scaled).toFixed(digits)}${row.unit ? " " + row.unit : ""}`;
}

function control(row, kind, title, low, high, step, words) {
  const label = document.createElement("label"), caption = document.createElement("span");
  const input = document.createElement("input"), output = document.createElement("output");
  caption.textContent = title;
  Object.assign(input, { type: "range", min: low, max: high, step });
  input.setAttribute("aria-label", `${row.title} ${row.operation}: ${title.toLowerCase()}`);
  input.dataset.control = kind;
  label.className = "control";
  label.append(caption, input, output);
  const set = (value) => {
    input.value = value;
    output.textContent = words(Number(value));
    input.setAttribute("aria-valuetext", output.textContent);
  };
  input.addEventListener("input", () => {
    set(input.value);
    move(`${row.name} ${kind}`, { action: "set", name: row.name, control: kind, value: Number(input.value) });
  });
  input.addEventListener("dblclick", () => {
    set(kind === "strength" ? 1 : 0);
    input.dispatchEvent(new Event("input"));
  });
  return { label, set };
}

function build(row) {
  const item = document.createElement("li"), image = document.createElement("img");
  const head = document.createElement("div"), name = document.createElement("h3");
  const on = document.createElement("label"), box = document.createElement("input");
  item.dataset.name = row.name;
  image.alt = `Where and how much ${row.title} (${row.operation || row.name}) is changed`;
  const end = signed(row, row.limit).replace(/^\+/, "\u00b1");
  image.title = `Blue: less. Red: more. The colours end at ${end}.`;
  name.textContent = row.title;
  const kind = document.createElement("small");
  kind.textContent = row.operation;
  const code = document.createElement("code");
  code.textContent = row.name;
  name.append(" ", kind, " ", code);
  box.type = "checkbox";
  box.setAttribute("role", "switch");
  box.setAttribute("aria-label", `${row.title} ${row.operation}: on`);
  on.className = "switch";
  on.append(box, document.createElement("i"));
  head.className = "head";
  head.append(name, on);
  const strength = control(row, "strength", "Strength", 0, 2, 0.05, percent);
  const offset = control(row, "offset", "Offset", -row.reach, row.reach, row.reach / 50, (v) => signed(row, v));
  box.addEventListener("change", () => {
    item.classList.toggle("off", !box.checked);
    move(`${row.name} on`, { action: "set", name: row.name, control: "on", value: box.checked });
  });
  item.append(image, head, strength.label, offset.label);
  return {
    item,
    show(now) {
      image.src = now.picture;
      if (!waiting.has(`${now.name} strength`)) strength.set(now.strength);
      if (!waiting.has(`${now.name} offset`)) offset.set(now.offset);
      if (!waiting.has(`${now.name} on`)) box.checked = now.on;
      item.classList.toggle("off", !box.checked);
    },
  };
}

function showWhole(value) {
  const input = $(".whole input");
  input.value = value;
  $(".whole output").textContent = percent(value);
  input.setAttribute("aria-valuetext", percent(value));
}

function show() {
  const value = props.value;
  if (!value || !value.rows || value.serial === serial) return;
  serial = value.serial;
  busySince = 0;
  const names = value.rows.map((row) => row.name).join();
  if (names !== [...rows.keys()].join()) {
    rows.clear();
    for (const row of value.rows) rows.set(row.name, build(row));
    $(".rows").replaceChildren(...[...rows.values()].map((row) => row.item));
  }
  for (const row of value.rows) rows.get(row.name).show(row);
  if (!waiting.has("whole")) showWhole(value.whole);
  for (const radio of element.querySelectorAll(".scope input")) {
    radio.checked = radio.value === value.scope;
    if (radio.value === "photo") radio.parentElement.hidden = !value.gated;
    if (radio.value === "model" && !value.gated) radio.nextElementSibling.textContent = "Everywhere";
  }
  $(".empty").hidden = value.scope !== "area" || value.chosen;
  flush();
}

$(".whole input").addEventListener("input", (event) => {
  showWhole(Number(event.target.value));
  move("whole", { action: "whole", value: Number(event.target.value) });
});
for (const radio of element.querySelectorAll(".scope input"))
  radio.addEventListener("change", () => move("scope", { action: "scope", value: radio.value }));

document.addEventListener("keydown", (event) => {
  const key = event.key.toLowerCase();
  if (!(event.ctrlKey || event.metaKey) || !["z", "y"].includes(key)) return;
  event.preventDefault();
  document.getElementById(key === "y" || event.shiftKey ? "redo" : "undo")?.click();
});

watch("value", show);
show();
