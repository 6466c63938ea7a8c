// The network and the retoucher, as ONNX files that run in this page.

import * as n from "./numeric.js";

const WORK_SIZE = 256; // the longer side at which masks are predicted, in pixels
const STRIP = 1 << 18; // pixels that are retouched at once

/** Reads both files; `progress` is told what is being read. */
export async function load(folder, progress) {
  const ort = await import(`${folder}/ort.wasm.min.mjs`);
  ort.env.wasm.wasmPaths = new URL(`${folder}/`, import.meta.url).href;
  ort.env.wasm.numThreads = 1; // more need headers that a plain server does not send
  const about = await (await fetch(`${folder}/about.json`)).json();
  const sessions = {};
  for (const part of ["predictor", "retoucher"]) {
    progress(`Loading the ${part} …`);
    const content = await (await fetch(`${folder}/${part}.onnx`)).arrayBuffer();
    sessions[part] = await ort.InferenceSession.create(content);
  }
  return new Model(ort, sessions, about);
}

class Model {
  constructor(ort, sessions, about) {
    Object.assign(this, { ort, ...sessions, masks: about.masks, calibration: about.calibration });
  }

  tensor(data, ...shape) {
    return new this.ort.Tensor("float32", data, shape);
  }

  /**
   * The masks of a photo: their planes by name, their height and width, and how far they are trusted.
   * `painted` says whether something of the region is told, `strokes` whether that is no more than strokes.
   */
  async predict(planes, size, { plane, size: regionSize, painted, strokes }) {
    const small = n.fit(...size, WORK_SIZE);
    const image = n.shrinkPicture(planes, size, small);
    const trust = this.calibration;
    let region = n.shrinkRegion(plane, regionSize, small);
    if (painted && strokes && trust?.refines) region = n.refineRegion((await this.masksFor(image, region, small)).gate, region, small);
    const masks = await this.masksFor(image, region, small);
    n.within(masks, this.masks, region, small);
    if (!trust) return { masks, size: small, strength: 1 };
    if (!painted) {
      const strengths = n.foundStrengths(masks.gate, small, trust);
      for (const name in masks) if (!this.masks[name].gate) masks[name] = n.adjust(masks[name], this.masks[name], strengths);
      return { masks, size: small, strength: 1 };
    }
    const change = n.changeWithin(image, await this.render(image, masks, small), region);
    return { masks, size: small, strength: n.toldStrength(change, strokes, trust) };
  }

  async masksFor(image, region, [h, w]) {
    const found = await this.predictor.run({ image: this.tensor(image, 1, 3, h, w), region: this.tensor(region, 1, 1, h, w) });
    return Object.fromEntries(Object.keys(this.masks).map((name) => [name, Float32Array.from(found[name].data)]));
  }

  /** A picture with masks of its own size applied. */
  async render(image, masks, [h, w]) {
    const feed = { image: this.tensor(image, 1, 3, h, w) };
    for (const name in masks) feed[name] = this.tensor(masks[name], 1, 1, h, w);
    return (await this.retoucher.run(feed)).image_out.data;
  }

  /** Applies masks to a photo, strip by strip, into the pixels of a canvas. */
  async retouch(planes, [height, width], edit, pixels) {
    const rows = Math.max(1, Math.floor(STRIP / width));
    for (let top = 0; top < height; top += rows) {
      const bottom = Math.min(top + rows, height);
      const count = (bottom - top) * width;
      const strip = new Float32Array(3 * count);
      for (let c = 0; c < 3; c++) {
        const start = (c * height + top) * width;
        strip.set(planes.subarray(start, start + count), c * count);
      }
      const masks = {};
      for (const name in edit.masks) masks[name] = n.enlarge(edit.masks[name], edit.size, [height, width], top, bottom);
      n.toPixels(await this.render(strip, masks, [bottom - top, width]), pixels, top * width);
    }
  }
}
