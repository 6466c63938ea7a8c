import pytest
import torch
from reproduction.small import pool, worksizes
from reproduction.small.kinds import KINDS
from reproduction.small.network import build

import opmask
from opmask.inference.refine import EMPTY


@pytest.mark.slow
@pytest.mark.filterwarnings(f"ignore:{EMPTY}")
def test_each_size_has_a_row_and_an_untrained_model_changes_nothing(
    listed_photos, monkeypatch, capsys
):
    packed = listed_photos / "packed"
    pool.pack(pool.Pool(listed_photos, "train", size=64), packed)
    path = listed_photos / "model.safetensors"
    arguments = ["worksizes.py", str(path), "--photos", str(packed), "--sizes", "32", "64"]
    monkeypatch.setattr("sys.argv", arguments)
    torch.manual_seed(0)
    model = build(8, "none").eval()
    opmask.save(model, path)
    worksizes.main()
    count, heading, _, *lines = capsys.readouterr().out.splitlines()
    assert count.endswith("photos of 64 px")
    assert heading.startswith("| work size, px | exact: mixed | exact: filters |")
    assert [line.split(" | ")[0] for line in lines] == ["| 32", "| 64"]
    assert all(line.count("1.000, +0.00") == 2 * (1 + len(KINDS)) for line in lines)
    with torch.no_grad():  # as if trained: sizes then differ
        for weight in model.backbone.parameters():
            weight += 0.2 * torch.randn_like(weight)
    opmask.save(model, path)
    worksizes.main()
    small, large = capsys.readouterr().out.splitlines()[3:]
    assert small.split(" | ")[1:] != large.split(" | ")[1:]
