import ast
import pickle
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch

import opmask
import opmask.study

HEAVY = ["torchvision", "kornia", "lpips", "timm", "segmentation_models_pytorch", "pilgram",
         "accelerate", "matplotlib", "gradio", "typer", "tensorboard", "scipy", "skimage", "cv2",
         "onnx", "onnxscript", "onnxruntime"]  # fmt: skip


def test_all_of_opmask_loads_no_heavy_package():
    code = f"""
import sys, torch
before = set(sys.modules)
import opmask
for name in opmask.__all__:
    getattr(opmask, name)
print([name for name in {HEAVY} if name in set(sys.modules) - before])
"""
    assert run(code) == "[]"


def run(code, *arguments):
    """What a fresh process prints."""
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_importing_opmask_loads_no_torch_until_a_name_is_asked_for():
    code = """
import sys, opmask
print({"torch", "numpy", "PIL", "kornia"} & set(sys.modules), opmask.__version__)
print(opmask.LAB.name, opmask.losses.charbonnier.__name__, opmask.wrapper.heads.__name__)"""
    assert run(code).splitlines() == [
        f"set() {opmask.__version__}",
        "lab charbonnier opmask.wrapper.heads",
    ]


def test_the_table_of_names_agrees_with_all_and_with_what_type_checkers_see():
    tree = ast.parse(Path(opmask.__file__).read_text(encoding="utf-8"))
    [guarded] = [node for node in tree.body if isinstance(node, ast.If) and node.body[1:]]
    seen = {
        (".".join(node.module.split(".")[:2]), alias.name)
        for node in guarded.body
        for alias in node.names
    }
    rooms = {name for module, name in seen if module == "opmask"}
    homes = opmask._HOMES.items()
    given = {(f"opmask.{room}", name) for room, names in homes for name in names}
    assert given == {pair for pair in seen if pair[0] != "opmask"}
    assert {name for _, name in given} | rooms | {"__version__"} == set(opmask.__all__)
    assert rooms <= set(opmask._HOMES)


def test_a_name_of_the_package_is_the_object_of_its_room():
    for room, names in opmask._HOMES.items():
        module = import_module(f"opmask.{room}")
        assert getattr(opmask, room) is module
        for name in names:
            assert getattr(opmask, name) is getattr(module, name)


def test_what_was_reached_after_a_plain_import_is_reached():
    code = """
import opmask
for name in "color discriminator files fitting inference markdown operators retouch".split():
    assert getattr(opmask, name).__name__ == f"opmask.{name}"
from opmask import *
print(Add.__name__, perturb.REFERENCE is opmask.perturb.REFERENCE)"""
    assert run(code) == "Add True"


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"^module 'opmask' has no attribute 'Ad'$"):
        opmask.Ad  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'Ad' from 'opmask'"):
        from opmask import Ad  # noqa: F401


def test_names_are_listed_before_they_are_imported():
    code = "import sys, opmask; print({*opmask.__all__} - {*dir(opmask)}, 'torch' in sys.modules)"
    assert run(code) == "set() False"


def test_threads_that_import_at_the_same_time_get_the_same_objects():
    code = """
import random, threading, opmask
barrier, found = threading.Barrier(8), []
def ask(seed):
    names = random.Random(seed).sample(opmask.__all__, len(opmask.__all__))
    barrier.wait()
    found.append({name: getattr(opmask, name) for name in names})
threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(found), all(each[name] is found[0][name] for each in found for name in each))"""
    assert run(code) == "8 True"


@pytest.mark.slow
def test_pickles_need_no_import_and_exported_programs_that_of_what_they_return(tmp_path):
    space = pickle.dumps(opmask.LAB).hex()
    code = f"import pickle; print(pickle.loads(bytes.fromhex('{space}')).name)"
    assert run(code) == "lab"
    model = opmask.OperatorMaskWrapper(torch.nn.Conv2d(3, 8, 3, padding=1)).eval()
    program = torch.export.export(model, (torch.rand(1, 3, 32, 32),))
    torch.export.save(program, tmp_path / "model.pt2")
    code = """
import sys, opmask, torch
opmask.Retouched
program = torch.export.load(sys.argv[1])
print(type(program.module()(torch.rand(1, 3, 32, 32))) is opmask.Retouched)"""
    assert run(code, str(tmp_path / "model.pt2")) == "True"


@pytest.mark.slow
def test_type_checkers_see_the_names_with_their_types_and_no_others(tmp_path):
    (tmp_path / "use.py").write_text(
        "import opmask\n"
        "reveal_type(opmask.LAB)\n"
        "reveal_type(opmask.losses.charbonnier)\n"
        "opmask.Ad\n"
    )
    command = [sys.executable, "-m", "mypy", "--config-file=", "--follow-imports=silent", "use.py"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert 'Revealed type is "opmask.color.spaces.ColorSpace"' in done.stdout
    assert "def (input: torch._tensor.Tensor, target: torch._tensor.Tensor" in done.stdout
    assert 'use.py:4: error: Module has no attribute "Ad"' in done.stdout


def test_every_public_name_exists():
    for module in (
        opmask,
        opmask.losses,
        opmask.metrics,
        opmask.perturb,
        opmask.datasets,
        opmask.export,
        opmask.backbones,
        opmask.study,
    ):
        assert all(hasattr(module, name) for name in module.__all__)
        assert list(module.__all__) == sorted(set(module.__all__), key=_order)


def _order(name: str) -> tuple[bool, bool, str]:
    """Constants, then classes, then functions, as ruff sorts `__all__`."""
    return (not name.isupper(), not name[0].isupper(), name)
