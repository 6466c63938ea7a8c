"""Make the files of the demo that runs in a browser: the model as ONNX, and ONNX Runtime Web.

    python examples/make_web_demo.py
    python examples/make_web_demo.py --model model.safetensors --runtime onnxruntime-web-1.30.0.tgz

They go beside the page, into `docs/_extra/demo/files`, which is not committed; the documentation
copies them when it is built next. ONNX Runtime Web comes from npm's registry (`npm pack`), or from
a file that was fetched before. The sample is the cup of coffee that comes with scikit-image.
"""

from __future__ import annotations

if __name__ == "__main__":
    from reproduction import launch

import argparse
import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from PIL import Image
from reproduction.flags import existing
from show_edit import sample
from tqdm import tqdm

import opmask
from opmask.export import to_onnx
from opmask.export.metadata import about_range
from opmask.files import replacing

RUNTIME = "onnxruntime-web@1.30.0"
NEEDED = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
LARGEST = 25e6  # bytes, of all files together
FOLDER = Path(__file__).parents[1] / "docs" / "_extra" / "demo" / "files"


def fetch_runtime(folder: Path) -> Path:
    """The package of ONNX Runtime Web, from npm's registry."""
    if shutil.which("npm") is None:
        raise FileNotFoundError(
            f"npm is not installed. Install Node.js, or fetch {RUNTIME} elsewhere and pass "
            "--runtime FILE."
        )
    done = subprocess.run(
        ["npm", "pack", RUNTIME, "--silent"], cwd=folder, capture_output=True, text=True
    )
    if done.returncode:
        raise OSError(f"npm could not fetch {RUNTIME}: {done.stderr.strip() or 'no message'}")
    return folder / done.stdout.strip().splitlines()[-1]


def unpack(package: Path, folder: Path) -> None:
    """Of the package, what the page needs."""
    with tarfile.open(package) as archive:
        for name in NEEDED:
            try:
                content = archive.extractfile(f"package/dist/{name}")
            except KeyError:
                content = None
            if content is None:
                raise ValueError(
                    f"--runtime must be the package {RUNTIME}, {package} lacks {name}."
                )
            with replacing(folder / name) as temporary:
                temporary.write_bytes(content.read())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=existing, help="a checkpoint; else the bundled one")
    parser.add_argument("--runtime", type=existing, help=f"the package; else npm's {RUNTIME}")
    parser.add_argument("--out", type=Path, default=FOLDER, help="the folder")
    args = parser.parse_args()
    model = opmask.load(args.model)
    if not (isinstance(model, opmask.OperatorMaskWrapper) and model.region):
        parser.error(f"--model must be one that takes a region, got {args.model}.")
    args.out.mkdir(parents=True, exist_ok=True)
    with tqdm(total=4, desc="web demo") as progress, tempfile.TemporaryDirectory() as folder:
        unpack(args.runtime or fetch_runtime(Path(folder)), args.out)
        progress.update()
        to_onnx(model, args.out / "predictor.onnx", "predictor", half=True)
        progress.update()
        to_onnx(model, args.out / "retoucher.onnx", "retoucher")
        progress.update()
        photo, _ = sample()
        with replacing(args.out / "sample.jpg") as temporary:
            Image.fromarray(photo.permute(1, 2, 0).numpy()).save(temporary, quality=92)
        masks = {
            name: {**about_range(r), "gate": name in model.retoucher.gates}
            for name, r in model.retoucher.ranges.items()
        }
        trust = None if model.calibration is None else json.loads(model.calibration.to_json())
        about = {"opmask": opmask.__version__, "calibration": trust, "masks": masks}
        with replacing(args.out / "about.json") as temporary:
            temporary.write_text(json.dumps(about))
        progress.update()
    size = sum(path.stat().st_size for path in args.out.iterdir())
    if size > LARGEST:
        raise ValueError(f"the demo must stay under {LARGEST / 1e6:.0f} MB, got {size / 1e6:.1f}.")
    print(f"Written: {args.out} ({size / 1e6:.1f} MB). Now build the documentation.")


if __name__ == "__main__":
    launch.run(main)
