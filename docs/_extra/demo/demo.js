// The page: a photo, a painted region, the masks with a slider each.

import { load } from "./model.js";
import * as n from "./numeric.js";

const SHOWN = 1024; // the longer side of what is shown, in pixels
const FILES = "./files";
const COLORS = [[13, 79, 163], [117, 179, 224], [245, 245, 245], [240, 148, 117], [163, 20, 33]];
const TITLES = {
  l_mul: "lightness, times", a_mul: "green–red, times", b_mul: "blue–yellow, times",
  l_add: "lightness, plus", a_add: "green–red, plus", b_add: "blue–yellow, plus", gate: "gate: where they act",
};

const $ = (id) => document.getElementById(id);
const photo = $("photo").getContext("2d", { willReadFrequently: true });
const paint = $("paint").getContext("2d", { willReadFrequently: true });
const state = { model: null, source: null, planes: null, edit: null, after: null, strengths: {}, erasing: false, ticket: 0 };

function say(text, fault = false) {
  $("status").textContent = text;
  $("status").classList.toggle("fault", fault);
}

const pause = () => new Promise((resolve) => setTimeout(resolve, 20)); // so that the page is drawn

/** Shows a photo, and forgets what was made of the one before. */
function open(picture, name = "photo") {
  const size = [picture.naturalHeight ?? picture.height, picture.naturalWidth ?? picture.width];
  if (Math.min(...size) < 16) return say("The photo must have at least 16 pixels a side.", true);
  const [height, width] = n.fit(...size, SHOWN);
  for (const canvas of [photo.canvas, paint.canvas]) Object.assign(canvas, { width, height });
  photo.drawImage(picture, 0, 0, width, height);
  Object.assign(state, { source: { picture, size, name }, edit: null, after: null });
  state.planes = n.toPlanes(photo.getImageData(0, 0, width, height));
  state.before = photo.getImageData(0, 0, width, height);
  $("drop").classList.add("full");
  document.querySelectorAll(".mask").forEach((row) => row.remove());
  for (const id of ["split", "save"]) $(id).disabled = true;
  $("harmonize").disabled = !state.model;
  say("Paint what was changed, then press Harmonize.");
}

async function read(file) {
  try {
    open(await createImageBitmap(file), file.name.replace(/\.[^.]*$/, ""));
  } catch {
    say(`${file.name} is no picture that this browser reads.`, true);
  }
}

/** The painted region at the size of what is shown: 1 inside, 0 outside or, for strokes and where nothing is, -1 unknown. */
function region() {
  const { width, height } = paint.canvas;
  const { data } = paint.getImageData(0, 0, width, height);
  const plane = new Float32Array(width * height);
  for (let i = 0; i < plane.length; i++) plane[i] = data[4 * i + 3] > 127 ? 1 : 0;
  const painted = plane.includes(1);
  const strokes = $("strokes").checked;
  if (!painted || strokes) for (let i = 0; i < plane.length; i++) if (!plane[i]) plane[i] = -1;
  return { plane, painted, strokes, size: [height, width] };
}

/** The masks with the strengths of the sliders; that of a gate is how far it opens. */
function adjusted() {
  const { masks, size } = state.edit;
  const changed = {};
  for (const name in masks) {
    const about = state.model.masks[name];
    changed[name] = n.adjust(masks[name], about.gate ? { ...about, identity: 0 } : about, state.strengths[name]);
  }
  return { masks: changed, size };
}

/** What a mask comes to where the gates let it act, as its distance from the identity. */
function offsets(name) {
  const { masks } = state.edit;
  const { identity, gate } = state.model.masks[name];
  if (gate) return masks[name];
  const gates = Object.keys(masks).filter((other) => state.model.masks[other].gate);
  return masks[name].map((value, i) => gates.reduce((left, g) => left * masks[g][i], value - identity));
}

async function harmonize() {
  const told = region();
  say(told.painted ? "Predicting masks …" : "Nothing is painted: the network looks for the region, which it often does not find …");
  await pause();
  const { width, height } = photo.canvas;
  state.edit = await state.model.predict(state.planes, [height, width], told);
  for (const name in state.edit.masks) state.strengths[name] = state.model.masks[name].gate ? 1 : state.edit.strength;
  list();
  $("split").value = 100;
  await render();
  for (const id of ["split", "save"]) $(id).disabled = false;
}

/** Renders what is shown; of several calls in a row the last one counts. */
async function render() {
  const ticket = ++state.ticket;
  await pause();
  if (ticket !== state.ticket) return;
  const { width, height } = photo.canvas;
  const after = new ImageData(state.before.data.slice(), width, height);
  await state.model.retouch(state.planes, [height, width], adjusted(), after.data);
  if (ticket !== state.ticket) return;
  state.after = after;
  show();
  say("Done. Move the sliders to change the edit.");
}

/** After on the left of the split, before on the right; the painting is hidden while anything of it is shown. */
function show() {
  const { width } = photo.canvas;
  const split = Math.round((width * $("split").value) / 100);
  photo.putImageData(state.before, 0, 0);
  if (state.after && split) photo.putImageData(state.after, 0, 0, 0, 0, split, photo.canvas.height);
  paint.canvas.style.opacity = state.after && split ? 0 : ""; // it still takes the pointer, which shows the photo before
}

function color(value) {
  const place = (Math.max(-1, Math.min(1, value)) + 1) * 2;
  const low = Math.min(3, Math.floor(place));
  return COLORS[low].map((c, i) => c + (COLORS[low + 1][i] - c) * (place - low));
}

function draw(canvas, plane, [h, w]) {
  Object.assign(canvas, { width: w, height: h });
  const limit = Math.max(1e-6, plane.reduce((most, value) => Math.max(most, Math.abs(value)), 0));
  const pixels = new ImageData(w, h);
  plane.forEach((value, i) => pixels.data.set([...color(value / limit), 255], 4 * i));
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

/** A row for each mask: its map, its name and strength. */
function list() {
  document.querySelectorAll(".mask").forEach((row) => row.remove());
  for (const name in state.edit.masks) {
    const row = document.createElement("div");
    row.className = "mask";
    const canvas = document.createElement("canvas");
    draw(canvas, offsets(name), state.edit.size);
    const label = document.createElement("label");
    const slider = Object.assign(document.createElement("input"), {
      type: "range", min: 0, max: state.model.masks[name].gate ? 1 : 2, step: 0.05, value: state.strengths[name], id: `strength-${name}`,
    });
    label.htmlFor = slider.id;
    const title = () => (label.textContent = `${TITLES[name] ?? name}: ${state.strengths[name].toFixed(2)}`);
    title();
    slider.addEventListener("input", () => {
      state.strengths[name] = Number(slider.value);
      title();
      render().catch(fail);
    });
    row.append(canvas, label, slider);
    $("masks").append(row);
  }
}

/** The whole photo with the edit, as a file. */
async function save() {
  say("Rendering the whole photo …");
  await pause();
  const { picture, size, name } = state.source;
  const [height, width] = size;
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const whole = canvas.getContext("2d", { willReadFrequently: true });
  whole.drawImage(picture, 0, 0);
  const pixels = whole.getImageData(0, 0, width, height);
  await state.model.retouch(n.toPlanes(pixels), size, adjusted(), pixels.data);
  whole.putImageData(pixels, 0, 0);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve));
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: `${name}-harmonized.png` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  say(`Saved, ${width} by ${height} pixels.`);
}

function fail(error) {
  console.error(error);
  say(`That did not work: ${error.message ?? error}`, true);
}

const guarded = (action) => () => action().catch(fail);

function connect() {
  let last = null;
  const at = ({ offsetX, offsetY }) => {
    const scale = paint.canvas.width / paint.canvas.clientWidth;
    return [offsetX * scale, offsetY * scale];
  };
  const stroke = (event) => {
    const to = at(event);
    paint.globalCompositeOperation = state.erasing ? "destination-out" : "source-over";
    Object.assign(paint, { strokeStyle: "#ff3b30", lineCap: "round", lineWidth: Number($("brush").value) });
    paint.beginPath();
    paint.moveTo(...(last ?? to));
    paint.lineTo(...to);
    paint.stroke();
    last = to;
  };
  $("paint").addEventListener("pointerdown", (event) => {
    $("paint").setPointerCapture(event.pointerId);
    if (state.after && Number($("split").value)) {
      $("split").value = 0;
      show();
      say("This is the photo before. Press Harmonize when the region is painted.");
    }
    stroke(event);
  });
  $("paint").addEventListener("pointermove", (event) => last && stroke(event));
  for (const name of ["pointerup", "pointercancel"]) $("paint").addEventListener(name, () => (last = null));
  $("erase").addEventListener("click", () => {
    state.erasing = !state.erasing;
    $("erase").setAttribute("aria-pressed", state.erasing);
  });
  $("clear").addEventListener("click", () => {
    paint.clearRect(0, 0, paint.canvas.width, paint.canvas.height);
    $("split").value = 0;
    if (state.source) show();
  });
  $("file").addEventListener("change", ({ target }) => target.files[0] && read(target.files[0]));
  $("sample").addEventListener("click", guarded(async () => {
    const picture = new Image();
    picture.src = `${FILES}/sample.jpg`;
    await picture.decode();
    open(picture, "sample");
  }));
  $("harmonize").addEventListener("click", guarded(harmonize));
  $("save").addEventListener("click", guarded(save));
  $("split").addEventListener("input", show);
  for (const name of ["dragover", "dragleave", "drop"]) {
    $("drop").addEventListener(name, (event) => {
      event.preventDefault();
      $("drop").classList.toggle("over", name === "dragover");
      if (name === "drop" && event.dataTransfer.files[0]) read(event.dataTransfer.files[0]);
    });
  }
}

async function start() {
  connect();
  if (!(await fetch(`${FILES}/about.json`, { method: "HEAD" })).ok)
    return say("The network is not here yet. Run: python examples/make_web_demo.py, and build the site again.", true);
  state.model = await load(FILES, say);
  $("sample").disabled = false;
  $("harmonize").disabled = !state.source;
  say(state.source ? "Paint what was changed, then press Harmonize." : "Ready. Choose a photo, or the sample.");
}

start().catch(fail);
window.demo = { state, open, region, paint }; // for tests, and for the curious
