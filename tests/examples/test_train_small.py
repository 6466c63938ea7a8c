import json
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import train_small
from reproduction.small import batches, pool, scoring
from reproduction.small import run as small_run
from reproduction.small.batches import Mix, make_batch
from reproduction.small.hyperparameters import rate

import opmask
from opmask.backbones.segment_finder import SegmentFinder
from opmask.datasets import SyntheticScenes

QUICK = [
    "--steps",
    "4",
    "--batch-size",
    "2",
    "--sizes",
    "32",
    "--until",
    "--finding",
    "0",
    "--trunk",
    "none",
    "--width",
    "8",
    "--scenes",
    "1",
]


@pytest.fixture
def run(listed_photos, monkeypatch):
    """Runs the script in `listed_photos`, with more arguments."""

    def main(*arguments, out="run"):
        options = [
            "--data",
            str(listed_photos),
            "--out",
            str(listed_photos / out),
            "--workers",
            "0",
        ]
        options += [
            "--photos",
            str(listed_photos / "small"),
            "--device",
            "cpu",
            *QUICK,
            *arguments,
        ]
        monkeypatch.setattr(sys, "argv", ["train_small.py", *options])
        train_small.main()
        return listed_photos / out

    return main


def photos(count=4, size=64):
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(256, (count, 3, size, size), generator=generator).to(torch.uint8)
    maps = torch.zeros(count, size, size, dtype=torch.uint8)
    maps[:, :, size // 2 :] = 5
    maps[:, : size // 2, : size // 2] = 2
    return images, maps


def batch(seed=0, count=4, **mix):
    return make_batch(*photos(count), 32, Mix(**mix), seed)


def test_a_run_leaves_a_model_that_can_be_loaded(run):
    folder = run()
    model = opmask.load(folder / "model.safetensors")
    assert list(model.retoucher.ranges)[-1] == "gate"
    assert len((folder / "log.csv").read_text().splitlines()) == 5
    assert [row["step"] for row in json.loads((folder / "validation.json").read_text())] == [4]


def test_a_resumed_run_has_the_weights_of_one_that_was_not_interrupted(run, monkeypatch):
    whole = torch.load(run() / "checkpoint" / "state.pt", weights_only=True)

    def stop(learner_run, *_):
        if learner_run.step == 2:
            raise SystemExit("Interrupted")
        return advance(learner_run, *_)

    advance = small_run.advance
    with monkeypatch.context() as patch:
        patch.setattr(small_run, "advance", stop)
        with pytest.raises(SystemExit, match="Interrupted"):
            run("--save-every", "2", out="other")
    resumed = run("--resume", out="other")
    again = torch.load(resumed / "checkpoint" / "state.pt", weights_only=True)
    torch.testing.assert_close(again["model"], whole["model"], rtol=0, atol=0)
    torch.testing.assert_close(again["average"], whole["average"], rtol=0, atol=0)
    assert len((resumed / "log.csv").read_text().splitlines()) == 5


def test_a_finder_learns_first_and_is_resumed_too(run, monkeypatch):
    flags = ["--finding", "3", "--trunk", "lite0", "--save-every", "2"]
    whole = opmask.load(run(*flags) / "model.safetensors").state_dict()

    def stop(learner_run, *_):
        if learner_run.step == where:
            raise SystemExit("Interrupted")
        return advance(learner_run, *_)

    advance = small_run.advance
    for where in 2, 3:
        with monkeypatch.context() as patch:
            patch.setattr(small_run, "advance", stop)
            with pytest.raises(SystemExit, match="Interrupted"):
                run(*flags, *["--resume"] * (where == 3), out="other")
    again = opmask.load(run(*flags, "--resume", out="other") / "model.safetensors").state_dict()
    torch.testing.assert_close(again, whole, rtol=0, atol=0)
    fresh = train_small.build(8, finder=True).state_dict()
    assert not torch.equal(
        whole["backbone.finder.out.weight"], fresh["backbone.finder.out.weight"]
    )
    assert (whole["backbone.finder.deviation"] != 1).any()


def test_the_finder_is_not_asked_at_first(run, monkeypatch):
    asked = []
    forward = SegmentFinder.forward

    def noticed(self, image, region, trunk):
        asked.append(region)
        return forward(self, image, region, trunk)

    steps = []

    def advance(learner_run, *batch):
        before = len(asked)
        plain(learner_run, *batch)
        if learner_run.out.name == "run":
            steps.append(len(asked) > before)

    plain = small_run.advance
    monkeypatch.setattr(small_run, "advance", advance)
    monkeypatch.setattr(SegmentFinder, "forward", noticed)
    run("--finding", "1", "--trunk", "lite0", "--alone", "0.5", "--refined", "0")
    assert steps == [False, False, True, True]


def test_a_run_with_other_settings_is_not_resumed(run):
    run()
    with pytest.raises(SystemExit, match=r"eps was 0\.05, is 0\.1"):
        run("--resume", "--eps", "0.1")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--finding", "2"], "'--finding' must be 0 with '--trunk none'"),
        (["--sizes", "32", "48", "--until", "0.8", "0.2"], "'--until' must ascend"),
        (["--until", "1.5"], "must be a number from 0 to 1, got 1.5"),
        (["--prompts", "0", "0", "0", "0", "0"], "'--prompts' must hold a share above 0"),
        (["--lr", "-1"], "must be a number above 0, got -1"),
        (["--width", "9"], "'width' must be a multiple of 4, got 9"),
    ],
)
def test_a_run_that_is_refused_leaves_nothing(run, capsys, listed_photos, flags, message):
    with pytest.raises((SystemExit, ValueError)) as refused:
        run(*flags)
    assert message in str(refused.value) + capsys.readouterr().err
    assert not (listed_photos / "run").exists()
    assert not (listed_photos / "small").exists()


def test_an_interrupted_run_leaves_a_model(run, listed_photos, monkeypatch):
    class Stopped:
        """As if Ctrl-C had been pressed in the first step."""

        asked = True

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(small_run, "Interrupt", Stopped)
    with pytest.raises(KeyboardInterrupt, match="at step 1"):
        run("--save-every", "3")
    small = opmask.load(listed_photos / "run" / "last.safetensors")
    assert list(small.retoucher.ranges)[-1] == "gate"


def test_licence_clear_photos_alone_can_be_trained_on(listed_photos):
    packed = pool.pack(pool.Pool(listed_photos, "train", size=64), listed_photos / "packed")
    assert batches.usable(packed, clear=True) == [0, 1, 2]
    assert batches.usable(packed, clear=False) == list(range(6))


def test_synthetic_scenes_are_added(listed_photos):
    packed = pool.pack(pool.Pool(listed_photos, "train", size=64), listed_photos / "packed")
    found = batches.gather(packed, 2, clear=True)
    assert found.names == [*packed.names[:3], "scene-1-0", "scene-1-1"]
    scene = SyntheticScenes(2, size=64, seed=1)[1]
    assert torch.equal(found[4].image, scene.image)
    assert torch.equal(found[4].label_map, scene.label_map)
    assert torch.equal(found[2].image, packed[2].image)


def test_the_best_averaged_weights_are_kept(run, monkeypatch):
    ranks = iter([3.0, 1.0, 2.0, 5.0])
    monkeypatch.setattr(train_small, "rank", lambda _: next(ranks))
    folder = run("--validate-every", "1", "--ema", "0.0")
    rows = json.loads((folder / "validation.json").read_text())
    assert [row["rank"] for row in rows] == [3.0, 1.0, 2.0, 5.0]
    last = torch.load(folder / "checkpoint" / "state.pt", weights_only=True)["model"]
    kept = opmask.load(folder / "model.safetensors").state_dict()
    assert not torch.equal(kept["backbone.out.weight"], last["backbone.out.weight"])


def test_a_gradient_that_is_not_finite_ends_the_run(run, monkeypatch):
    monkeypatch.setattr(train_small, "charbonnier", lambda a, b, *_: (a - b) * torch.nan)
    with pytest.raises(SystemExit, match=r"not finite in step 0 .*--resume"):
        run()


def test_sizes_grow_and_the_rate_rises_and_falls():
    recipe = train_small.Hyperparameters(steps=1000)
    assert [recipe.shape(step) for step in (0, 599, 600, 800)] == [
        *((32, 64), (32, 64)),
        *((32, 96), (32, 128)),
    ]
    last = [(32, 96), (32, 128), (14, 192), (8, 256), (32, 96)]
    assert [recipe.shape(step) for step in range(920, 925)] == last
    assert rate(0, 1000) == pytest.approx(0.01)
    assert rate(500, 1000) == pytest.approx(0.5)
    assert rate(999, 1000) < 1e-5


def test_alexnet_must_come_with_its_weights(run, capsys):
    with pytest.raises(SystemExit):
        run("--trunk", "alexnet")
    assert "'--trunk alexnet' must come with --weights" in capsys.readouterr().err


def test_lite0_needs_no_file_of_weights():
    trunk = train_small.build(8).backbone.trunk
    assert trunk.stem[0].weight.abs().max() > 0.5


def test_each_size_but_the_last_one_must_end(run, capsys):
    with pytest.raises(SystemExit):
        run("--until", "0.3", "0.6")
    assert "'--until' must say of each of '--sizes' when it ends" in capsys.readouterr().err


def test_a_share_of_the_rough_prompts_is_refined_by_the_gate():
    made = batch(2, count=10, untouched=0.0)
    prompt = made.region.clone()
    prompt[2:] = 1.0  # all is told to be inside, which it is not
    prompt[8:] = -1.0
    model = train_small.build(8, "none")
    given = train_small.refined_prompt(model, made._replace(prompt=prompt), 0.5)
    changed = [not torch.equal(a, b) for a, b in zip(given, prompt, strict=True)]
    assert changed == [False, False, False, True, False, True, False, True, False, False]
    gate = torch.full_like(given[3], 0.5)  # of an untrained model
    torch.testing.assert_close(given[3], gate, atol=1e-3, rtol=0)
    assert train_small.refined_prompt(model, made._replace(prompt=prompt), 0.0) is prompt


def test_the_relative_error_counts_ratios_within_the_region_alone():
    real, region = torch.zeros(3, 3, 4, 4), torch.zeros(3, 1, 4, 4)
    region[:2, :, :2] = 1
    image = real + 10 * train_small.SLIGHT * torch.tensor([1.0, 10.0, 5.0]).view(3, 1, 1, 1)
    image[:, :, 2:] = 1.0  # outside
    given = batches.Batch(image, real, region, region)
    found = train_small.relative_error(image, given)
    torch.testing.assert_close(found, torch.tensor([101.0, 10001.0, 1.0]).log())


def test_a_batch_follows_from_its_seed():
    first, same, other = batch(3), batch(3), batch(4)
    assert all(torch.equal(a, b) for a, b in zip(first, same, strict=True))
    assert not torch.equal(first.composite, other.composite)


def test_outside_the_region_a_composite_is_the_photo():
    made = batch(1, treated=0.0, untouched=0.0)
    outside = (made.region == 0).expand(-1, 3, -1, -1)
    clean = (made.composite == made.real)[outside].float().mean()
    assert clean > 0.7  # a degraded real photo surrounds some regions


def test_untouched_photos_have_no_region_and_are_themselves():
    made = batch(untouched=1.0, treated=0.0)
    assert torch.equal(made.composite, made.real)
    assert not made.region.any()


def test_half_of_the_crops_are_mirrored():
    images = torch.zeros(200, 3, 32, 32, dtype=torch.uint8)
    images[..., 16:] = 200
    maps = torch.ones(200, 32, 32, dtype=torch.uint8)
    small, _ = batches.crop(images, maps, 16, torch.Generator().manual_seed(0))
    right = (small[:, 0, 8, -1] > small[:, 0, 8, 0]).float().mean()
    assert 0.4 < right < 0.6


def test_labels_are_cropped_like_images():
    images, maps = photos(20, 64)
    images = (maps * 40)[:, None].expand(-1, 3, -1, -1).contiguous()
    small, labels = batches.crop(images, maps, 32, torch.Generator().manual_seed(0))
    values = labels[:, None].float()
    inside = F.max_pool2d(values, 3, 1, 1) == -F.max_pool2d(-values, 3, 1, 1)  # no edge, no blur
    torch.testing.assert_close(small[:, :1][inside].float(), values[inside] * 40)
    assert inside.float().mean() > 0.8
    assert set(labels.unique().tolist()) <= {0, 2, 5}


def test_treated_composites_are_compressed_and_others_stay():
    image = torch.rand(2, 3, 32, 32)
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(batches.treat(image, 0.0, generator), image)
    assert (batches.treat(image, 1.0, generator) - image).abs().mean() > 0.01


def test_other_colors_leave_the_mean_exposure_about_where_it_was():
    images = torch.full((400, 3, 2, 2), 100, dtype=torch.uint8)
    varied = batches.vary_colors(images, torch.Generator().manual_seed(0)).float()
    assert 90 < varied.mean() < 110
    assert 10 < varied[:, 0, 0, 0].std() < 40


def test_scores_of_an_untrained_model_are_those_of_the_composites(listed_photos):
    packed = pool.pack(pool.Pool(listed_photos, "validation", size=64), listed_photos / "packed")
    rows = scoring.score(train_small.build(8, "none").eval(), packed, ("exact",), size=32)
    found = scoring.summarize(rows)
    assert [row.prompt for row in rows] == ["exact"] * 3 + ["untouched"] * 3
    assert found["exact"] == pytest.approx(1, abs=0.02)
    assert found["untouched"] < 0.1


def test_treated_composites_are_farther_from_the_photo_and_untouched_ones_left_out(listed_photos):
    packed = pool.pack(pool.Pool(listed_photos, "validation", size=64), listed_photos / "packed")
    model = train_small.build(8, "none").eval()
    plain, treated = (
        scoring.score(model, packed, ("exact",), size=32, treated=treated)
        for treated in (False, True)
    )
    assert len(treated) == len(plain) / 2 == 3
    assert {row.prompt for row in treated} == {"exact"}
    assert treated[0].before != pytest.approx(plain[0].before, rel=1e-3)
    assert treated[0].after == pytest.approx(treated[0].before, rel=0.05)


def test_checkpoints_are_ranked_by_error_given_the_region_or_not_and_by_harm_that_is_seen():
    found = {
        "exact": 0.6,
        "unknown": 0.9,
        "exact dB": 2.0,
        "unknown dB": 1.0,
        "untouched dB": 41.0,
    }
    assert scoring.rank(found) == pytest.approx(1.2)
    assert scoring.rank({**found, "untouched dB": 50.0}) == pytest.approx(1.2)
    assert scoring.rank({**found, "untouched dB": 38.0}) == pytest.approx(1.4)


def test_scores_are_what_plain_numpy_says(listed_photos):
    packed = pool.pack(pool.Pool(listed_photos, "validation", size=64), listed_photos / "packed")
    scene = next(scoring.scenes(packed, ("exact",)))
    before = scoring.squared_error(scene.made.composite, scene.made.real)
    a, b = ((x[0] * 255).round().double().numpy() for x in scene.made[:2])
    assert before[0].item() == pytest.approx(((a - b) ** 2).mean())
    assert scoring.psnr(before[0].item()) == pytest.approx(
        10 * np.log10(255**2 / ((a - b) ** 2).mean()), abs=1e-4
    )
