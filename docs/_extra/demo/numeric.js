// What opmask does to pictures and maps around the network, in the same way: see
// opmask/inference/plan.py, refine.py and regions.py, opmask/wrapper/calibration.py and opmask/retouch/pixels.py.
// Pictures are Float32Array of planes, one after the other, RGB in [0, 1].

const SMALLEST = 16; // pixels of a side
const BRIDGE = 2; // half the width that parts are joined by, in pixels
const FEATHER = 5; // the width of the ramp at the border of a found region, in pixels

/** Python's rounding, halves to even. */
function round(x) {
  const up = Math.round(x);
  return up - x === 0.5 && up % 2 ? up - 1 : up;
}

/** Height and width with the given longer side; it only shrinks. */
export function fit(height, width, longer) {
  const scale = Math.min(1, longer / Math.max(height, width));
  return [height, width].map((side) => Math.max(round(scale * side), Math.min(side, SMALLEST)));
}

/** One axis: for each place its first source and the weights from there, a triangle as wide as it shrinks. */
function triangles(from, to) {
  const scale = from / to;
  return Array.from({ length: to }, (_, i) => {
    const center = scale * (i + 0.5);
    const first = Math.max(Math.trunc(center - scale + 0.5), 0);
    const end = Math.min(Math.trunc(center + scale + 0.5), from);
    const weights = Array.from({ length: end - first }, (_, j) =>
      Math.max(0, 1 - Math.abs((j + first - center + 0.5) / scale)),
    );
    const total = weights.reduce((sum, w) => sum + w, 0);
    return [first, weights.map((w) => w / total)];
  });
}

/** A picture made smaller, bilinear with antialiasing. */
export function shrinkPicture(planes, [height, width], [h, w]) {
  if (h === height && w === width) return planes;
  const across = triangles(width, w);
  const down = triangles(height, h);
  const made = new Float32Array(3 * h * w);
  const narrow = new Float32Array(height * w);
  for (let c = 0; c < 3; c++) {
    for (let y = 0; y < height; y++) {
      const row = (c * height + y) * width;
      for (let x = 0; x < w; x++) {
        const [first, weights] = across[x];
        let sum = 0;
        for (let k = 0; k < weights.length; k++) sum += weights[k] * planes[row + first + k];
        narrow[y * w + x] = sum;
      }
    }
    for (let y = 0; y < h; y++) {
      const [first, weights] = down[y];
      for (let x = 0; x < w; x++) {
        let sum = 0;
        for (let k = 0; k < weights.length; k++) sum += weights[k] * narrow[(first + k) * w + x];
        made[(c * h + y) * w + x] = sum;
      }
    }
  }
  return made;
}

/** A region made smaller: the mean of what is known (0 to 1), or -1 where nothing is. */
export function shrinkRegion(plane, [height, width], [h, w]) {
  const made = new Float32Array(h * w);
  for (let y = 0; y < h; y++) {
    const top = Math.floor((y * height) / h);
    const bottom = Math.ceil(((y + 1) * height) / h);
    for (let x = 0; x < w; x++) {
      const left = Math.floor((x * width) / w);
      const right = Math.ceil(((x + 1) * width) / w);
      let sum = 0;
      let known = 0;
      for (let v = top; v < bottom; v++) {
        for (let u = left; u < right; u++) {
          const value = plane[v * width + u];
          if (value >= 0) {
            sum += value;
            known++;
          }
        }
      }
      made[y * w + x] = known ? sum / known : -1;
    }
  }
  return made;
}

/** Masks but for gates at their identity wherever the region and its neighbours are known to be outside. */
export function within(masks, about, region, size) {
  const near = grown(region.map((value) => value !== 0), 1, size);
  for (const name in masks)
    if (!about[name].gate) masks[name] = masks[name].map((value, i) => (near[i] ? value : about[name].identity));
}

/** What the gate says of a region told by strokes, which are sure: what is joined to one by more than a bridge, and a pixel around. */
export function refineRegion(gate, region, size) {
  const finer = region.map((told, i) => (told > 0 ? told : gate[i] * Math.abs(told)));
  const inside = finer.map((value, i) => value > 0.5 || region[i] > 0);
  const narrow = grown(inside.map((value) => !value), BRIDGE, size);
  const marked = grown(region.map((told) => told > 0), BRIDGE, size);
  const part = new Uint8Array(region.length);
  for (const pixels of connected(inside.map((value, i) => value && (!narrow[i] || marked[i])), size))
    if (pixels.some((i) => region[i] > 0)) for (const i of pixels) part[i] = 1;
  const [reached, around] = [grown(part, BRIDGE + 1, size), grown(inside, 1, size)];
  const joined = finer.map((value, i) => (reached[i] && around[i] ? value : 0));
  const found = joined.some((value, i) => value > 0.5 && region[i] < 0);
  return found ? joined : region;
}

/** A map that is true also where a true pixel is near, in a square. */
function grown(found, by, [h, w]) {
  const made = new Uint8Array(found.length);
  found.forEach((value, i) => value && square(i, by, h, w).forEach((near) => (made[near] = 1)));
  return made;
}

/** How much a picture was changed in a region: the root mean square, in levels of 255. */
export function changeWithin(before, after, region) {
  const count = region.length;
  let squares = 0;
  let area = 0;
  for (let i = 0; i < count; i++) {
    const weight = Math.abs(region[i]);
    area += weight;
    for (let c = 0; c < 3; c++) squares += (weight * (after[c * count + i] - before[c * count + i]) ** 2) / 3;
  }
  return area ? 255 * Math.sqrt(squares / area) : 0;
}

/** The strength for a region that is told, roughly or not: small changes get less. */
export function toldStrength(change, rough, { told, told_error, rough: roughly, rough_error }) {
  const [largest, error] = rough ? [roughly, rough_error] : [told, told_error];
  return error ? (largest * change ** 2) / (change ** 2 + error ** 2) : largest;
}

/** The strength for each pixel where the network has to find the regions: by the confidence of each, with a ramp. */
export function foundStrengths(gate, [h, w], { threshold, confidence, strength }) {
  const made = new Float32Array(h * w);
  for (const part of connected(gate.map((value) => value > threshold), [h, w])) {
    const mean = part.reduce((sum, i) => sum + gate[i], 0) / part.length;
    for (const i of part) made[i] = between(mean, confidence, strength);
  }
  return made.map((_, i) => {
    const near = square(i, FEATHER >> 1, h, w);
    return near.reduce((sum, j) => sum + made[j], 0) / near.length;
  });
}

/** The connected parts of a map; pixels that touch by a corner are connected. */
function* connected(found, [h, w]) {
  const seen = new Uint8Array(h * w);
  for (let start = 0; start < h * w; start++) {
    if (seen[start] || !found[start]) continue;
    const part = [start];
    seen[start] = 1;
    for (let k = 0; k < part.length; k++) {
      for (const i of square(part[k], 1, h, w)) {
        if (seen[i] || !found[i]) continue;
        seen[i] = 1;
        part.push(i);
      }
    }
    yield part;
  }
}

/** The pixels around one, and itself, as far as there are any. */
function square(i, reach, h, w) {
  const [y, x] = [Math.floor(i / w), i % w];
  const found = [];
  for (let v = Math.max(y - reach, 0); v <= Math.min(y + reach, h - 1); v++)
    for (let u = Math.max(x - reach, 0); u <= Math.min(x + reach, w - 1); u++) found.push(v * w + u);
  return found;
}

/** Linear between the knots, constant beyond them. */
function between(x, knots, values) {
  const next = knots.findIndex((knot) => x < knot);
  if (next < 0) return values.at(-1);
  if (next === 0) return values[0];
  const [a, b] = [knots[next - 1], knots[next]];
  return values[next - 1] + ((x - a) / (b - a)) * (values[next] - values[next - 1]);
}

/** Some rows of a map, made larger, bilinear. */
export function enlarge(plane, [h, w], [height, width], top = 0, bottom = height) {
  const made = new Float32Array((bottom - top) * width);
  const place = (i, from, to) => {
    const at = Math.max(((i + 0.5) * from) / to - 0.5, 0);
    const low = Math.min(Math.floor(at), from - 1);
    return [low, Math.min(low + 1, from - 1), at - low];
  };
  const columns = Array.from({ length: width }, (_, x) => place(x, w, width));
  for (let y = top; y < bottom; y++) {
    const [a, b, t] = place(y, h, height);
    for (let x = 0; x < width; x++) {
      const [l, r, s] = columns[x];
      const upper = plane[a * w + l] * (1 - s) + plane[a * w + r] * s;
      const lower = plane[b * w + l] * (1 - s) + plane[b * w + r] * s;
      made[(y - top) * width + x] = upper * (1 - t) + lower * t;
    }
  }
  return made;
}

/** A mask with another strength, one or one for each pixel, measured from its identity, within its range. */
export function adjust(plane, { identity, low, high }, strength) {
  return plane.map((value, i) =>
    Math.min(Math.max(identity + (strength[i] ?? strength) * (value - identity), low ?? -Infinity), high ?? Infinity),
  );
}

/** The pixels of a canvas as planes. */
export function toPlanes({ data, width, height }) {
  const planes = new Float32Array(3 * width * height);
  for (let i = 0; i < width * height; i++)
    for (let c = 0; c < 3; c++) planes[c * width * height + i] = data[4 * i + c] / 255;
  return planes;
}

/** Planes into the pixels of a canvas, rounded to 8 bits; alpha stays. */
export function toPixels(planes, data, start = 0) {
  const count = planes.length / 3;
  for (let i = 0; i < count; i++)
    for (let c = 0; c < 3; c++) data[4 * (start + i) + c] = round(255 * planes[c * count + i]);
}
