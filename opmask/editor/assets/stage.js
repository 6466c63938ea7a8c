// The stage: before and after, and an area that is painted or picked. Strokes are sent when they
// end; what comes back is the photo as the saved masks now render it.
const $ = (selector) => element.querySelector(selector);
const stage = $(".stage"), frame = $(".frame"), canvas = $("canvas.area"), split = $(".split");
const pen = canvas.getContext("2d", { willReadFrequently: true });
const LONGEST = 640; // pixels of the painted area; masks have fewer
const TINT = "#e6194b"; // of the area; a hue that photos seldom have
const HINTS = {
  compare: "Drag across the photo, or use the arrow keys, to compare.",
  pick: "Click on a changed region: what you change next acts there alone.",
  brush: "Paint the area in which changes act.",
  erase: "Erase from the area in which changes act.",
};
let mode = "compare", stroke = null, serial = -1;

function showSplit() {
  frame.style.setProperty("--split", `${split.value}%`);
}

function setMode(next) {
  mode = next;
  stage.dataset.mode = mode;
  for (const button of element.querySelectorAll(".segments button"))
    button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
  $(".hint").textContent = HINTS[mode];
}

function place(event) {
  const box = frame.getBoundingClientRect();
  const inside = (value) => Math.min(Math.max(value, 0), 1);
  return [inside((event.clientX - box.x) / box.width), inside((event.clientY - box.y) / box.height)];
}

function brushWidth() {
  return Math.max(2, (Number($(".brush-size").value) / 100) * Math.max(canvas.width, canvas.height));
}

function paint(from, to) {
  pen.globalCompositeOperation = mode === "erase" ? "destination-out" : "source-over";
  pen.strokeStyle = TINT;
  pen.lineCap = pen.lineJoin = "round";
  pen.lineWidth = brushWidth();
  pen.beginPath();
  pen.moveTo(from[0] * canvas.width, from[1] * canvas.height);
  pen.lineTo(to[0] * canvas.width + 0.01, to[1] * canvas.height);
  pen.stroke();
}

function moveRing(event) {
  const box = frame.getBoundingClientRect(), ring = $(".ring");
  const width = (brushWidth() * box.width) / Math.max(canvas.width, 1);
  ring.style.width = ring.style.height = `${width}px`;
  ring.style.left = `${event.clientX - box.x}px`;
  ring.style.top = `${event.clientY - box.y}px`;
}

function send(...changes) {
  trigger("input", { changes });
}

function drawArea(uri) {
  pen.globalCompositeOperation = "source-over";
  pen.clearRect(0, 0, canvas.width, canvas.height);
  if (!uri) return;
  const image = new Image();
  const wanted = serial;
  image.onload = () => {
    if (wanted !== serial || stroke) return;
    pen.clearRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(image, 0, 0, canvas.width, canvas.height);
    pen.globalCompositeOperation = "source-in";
    pen.fillStyle = TINT;
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.globalCompositeOperation = "source-over";
  };
  image.src = uri;
}

function tell(sentences, regions) {
  const list = $(".why ul");
  list.replaceChildren();
  sentences.forEach((sentence, index) => {
    const item = document.createElement("li"), text = document.createElement("span");
    text.textContent = sentence;
    item.append(text);
    if (index < regions) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "plain only";
      button.textContent = "Edit only this";
      button.setAttribute("aria-label", `Edit only region ${index + 1}`);
      button.addEventListener("click", () => send({ action: "pick_region", index }));
      item.append(button);
    }
    list.append(item);
  });
}

function show() {
  const value = props.value;
  if (!value || !value.after || value.serial === serial) return;
  serial = value.serial;
  if (value.before) {
    $("img.before").src = value.before;
    frame.style.setProperty("--aspect", `${value.width} / ${value.height}`);
    frame.style.setProperty("--ratio", value.width / value.height);
    const scale = Math.min(1, LONGEST / Math.max(value.width, value.height));
    canvas.width = Math.max(1, Math.round(value.width * scale));
    canvas.height = Math.max(1, Math.round(value.height * scale));
  }
  $("img.after").src = value.after;
  if (!stroke) drawArea(value.area);
  stage.dataset.scope = value.scope;
  $(".match").hidden = !value.guided;
  $(".refine").hidden = !value.refines;
  $(".match").disabled = $(".clear").disabled = !value.chosen;
  tell(value.sentences, value.regions);
}

for (const button of element.querySelectorAll(".segments button"))
  button.addEventListener("click", () => setMode(button.dataset.mode));
split.addEventListener("input", showSplit);
$(".clear").addEventListener("click", () => send({ action: "clear" }));
$(".match").addEventListener("click", () => send({ action: "match", refine: $(".refine input").checked }));

frame.addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  const at = place(event);
  if (mode === "pick") {
    send({ action: "pick", x: at[0], y: at[1] });
    return;
  }
  event.preventDefault();
  frame.setPointerCapture(event.pointerId);
  stroke = at;
  if (mode === "compare") {
    split.value = 100 * at[0];
    split.focus({ preventScroll: true });
    showSplit();
  } else {
    if (stage.dataset.scope !== "area") pen.clearRect(0, 0, canvas.width, canvas.height);
    stage.dataset.scope = "area";
    paint(at, at);
  }
});
frame.addEventListener("pointermove", (event) => {
  moveRing(event);
  if (!stroke) return;
  const at = place(event);
  if (mode === "compare") {
    split.value = 100 * at[0];
    showSplit();
  } else {
    paint(stroke, at);
    stroke = at;
  }
});
for (const end of ["pointerup", "pointercancel"])
  frame.addEventListener(end, () => {
    if (!stroke) return;
    stroke = null;
    if (mode !== "compare") send({ action: "paint", area: canvas.toDataURL("image/png") });
  });

setMode("compare");
showSplit();
watch("value", show);
show();
