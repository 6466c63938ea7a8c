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
    Object.assign(this, { ort, ...sessions, masks: about.masks, strength: about.strength });
  }

  tensor(data, ...shape) {
    return new this.ort.Tensor("float32", data, shape);
  }

  /** The masks of a photo: their planes by name, and their height and width. */
  async predict(planes, size, region, regionSize) {
    const small = n.fit(...size, WORK_SIZE);
    const told = n.shrinkRegion(region, regionSize, small);
    const found = await this.predictor.run({
      image: this.tensor(n.shrinkPicture(planes, size, small), 1, 3, ...small),
      region: this.tensor(told, 1, 1, ...small),
    });
    const masks = {};
    for (const name in this.masks) masks[name] = Float32Array.from(found[name].data);
    n.within(masks, this.masks, told, small);
    return { masks, size: small };
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
      const feed = { image: this.tensor(strip, 1, 3, bottom - top, width) };
      for (const name in edit.masks) {
        const mask = n.enlarge(edit.masks[name], edit.size, [height, width], top, bottom);
        feed[name] = this.tensor(mask, 1, 1, bottom - top, width);
      }
      const { image_out } = await this.retoucher.run(feed);
      n.toPixels(image_out.data, pixels, top * width);
    }
  }
}
