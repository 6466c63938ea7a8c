"""Recipes, the flags that override them, and what becomes of them in a run."""

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import train_hlip
import train_hscene
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from reproduction import loop, networks, recipes
from reproduction.data import share_steps
from reproduction.recipes import ABLATION, HLIP, HSCENE, SMALL, parse
from small_training import shrink

import opmask
from opmask.color import LAB_CENTERED
from opmask.perturb import PRESETS, REFERENCE, REFERENCE_RGB


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    shrink(monkeypatch.setattr)


FLAGS = ["--steps", "3", "--size", "32", "--batch-size", "2", "--accumulate", "1"]
FLAGS += ["--workers", "0", "--device", "cpu"]


def run(monkeypatch, out, *flags, script=train_hscene):
    monkeypatch.setattr(sys, "argv", ["train.py", *FLAGS, "--out", str(out), *flags])
    script.main()


def asked(monkeypatch, *flags, families=HSCENE):
    monkeypatch.setattr(sys, "argv", ["train.py", *flags])
    return parse("", families, "out")


def log(out, model):
    return list(csv.DictReader((out / model / "log.csv").read_text().splitlines()))


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def state(path):
    return opmask.load(path).state_dict()


# The paper's supplement and code, as a table: steps and milestones.
PAPER = [
    (HSCENE, "rgb", 40_000, (20_000, 30_000), 0.0),
    (HSCENE, "om", 40_000, (20_000, 30_000), 0.0),
    (HSCENE, "omgan", 10_000, (3_000, 5_000, 8_000), 0.005),
    (HLIP, "rgb", 85_000, (55_000, 75_000), 0.0),
    (HLIP, "om", 85_000, (55_000, 75_000), 0.0),
    (HLIP, "omgan", 10_000, (10_000,), 0.005),
]


@pytest.mark.parametrize(("families", "model", "steps", "milestones", "adversarial"), PAPER)
@pytest.mark.parametrize(("name", "loss"), [("reference", "none"), ("paper", "lpips-vgg")])
def test_the_paper_s_configurations(families, model, steps, milestones, adversarial, name, loss):
    recipe = families[name][model]
    assert (recipe.steps, recipe.milestones) == (steps, milestones)
    assert (recipe.adversarial, recipe.perceptual) == (adversarial, loss)
    assert (recipe.lr, recipe.betas, recipe.gamma) == (2e-4, (0.9, 0.99), 0.5)
    assert (recipe.size, recipe.batch_size, recipe.batch, recipe.ema) == (256, 64, 256, 0.999)
    assert (recipe.backbone, recipe.head, recipe.eps) == ("attention-unet", "published", 1e-6)


def test_the_baseline_works_in_rgb_and_masks_in_lab():
    rgb, om = HSCENE["reference"]["rgb"], HSCENE["reference"]["om"]
    assert PRESETS[rgb.perturb] is REFERENCE_RGB
    assert PRESETS[om.perturb] is REFERENCE
    assert recipes.SPACES[om.space] is LAB_CENTERED
    space = recipes.SPACES[rgb.space]
    assert space.from_rgb(torch.tensor([0.0, 0.5, 1.0])).tolist() == [-1, 0, 1]
    assert space.to_rgb(torch.tensor([-1.0, 0.0, 1.0])).tolist() == [0, 0.5, 1]


def test_the_rows_of_the_ablation():
    rows = [HSCENE[family][model] for family, model in ABLATION.values()]
    assert [row.masks for row in rows][1:] == ["add", "add-mul", "add-mul", "add-mul"]
    assert [row.perceptual != "none" for row in rows] == [True, True, True, False, True]
    assert [row.adversarial for row in rows] == [0, 0, 0, 0, 0.005]
    assert [model for _, model in ABLATION.values()] == ["rgb", "om", "om", "om", "omgan"]


@pytest.mark.parametrize(
    ("model", "rates"),
    [
        ("om", {200: 2e-4, 201: 1e-4, 300: 1e-4, 301: 5e-5}),
        ("omgan", {30: 2e-4, 31: 1e-4, 51: 5e-5, 80: 5e-5, 81: 2.5e-5}),
    ],
)
def test_the_rate_falls_one_step_after_each_milestone(model, rates):
    """Milestones are a hundredth of the real ones, which are in the next test."""
    recipe, used = HSCENE["reference"][model], []
    recipe = replace(recipe, milestones=tuple(at // 100 for at in recipe.milestones))
    net = torch.nn.Linear(1, 1)
    training = loop.make_learner(net, recipe, Accelerator(cpu=True))
    for _ in range(max(rates)):
        used.append(training.optimizer.param_groups[0]["lr"])
        training.step()
    assert {step: used[step - 1] for step in rates} == pytest.approx(rates)
    assert training.optimizer.param_groups[0]["betas"] == (0.9, 0.99)


def test_the_milestones_are_those_of_the_reference():
    recipes = HSCENE["reference"]
    assert recipes["om"].milestones[:2] == (20_000, 30_000)
    assert recipes["omgan"].milestones == (3_000, 5_000, 8_000)


def test_without_flags_a_recipe_is_as_it_was(monkeypatch):
    options, found = asked(monkeypatch)
    assert found == {"rgb": SMALL, "rgb-residual": SMALL, "om": SMALL}
    assert options == recipes.Options(out=Path("out"))


def test_every_value_can_be_given_as_a_flag(monkeypatch):
    flags = "--steps 7 --size 32 --batch-size 3 --backbone small --head identity --masks add "
    flags += "--perturb default --space rgb --eps 0.1 --perceptual vgg19-lab --adversarial 0.1 "
    flags += "--tv 1 --sparsity 2 --supervise-region 3 --supervise-masks 4 --ema 0.5 --lr 0.2 "
    flags += "--betas 0.5 0.6 --milestones 1 2 --gamma 0.3 --recipe paper --model om"
    recipe = asked(monkeypatch, *flags.split())[1]["om"]
    assert recipe == recipes.Recipe(
        *(7, 32, 3, 256, "small", "identity", "add", "default", "rgb", 0.1, "vgg19-lab"),
        *(0.1, 1, 2, 3, 4, 0.5, 0.2, (0.5, 0.6), (1, 2), 0.3),
    )


def test_no_milestones_leave_the_rate_as_it_is(monkeypatch):
    recipe = asked(monkeypatch, "--milestones", "--model", "om")[1]["om"]
    training = loop.make_learner(torch.nn.Linear(1, 1), recipe, Accelerator(cpu=True))
    for _ in range(20):
        training.step()
    assert training.optimizer.param_groups[0]["lr"] == 1e-3


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--ema", "1"], "--ema must be below 1, got 1.0"),
        (["--betas", "0.9", "1"], "--betas must be below 1, got (0.9, 1.0)"),
        (["--tv", "-1"], "--tv: must be a number from 0 on, got -1"),
        (["--tv", "1"], "--tv, --sparsity, --supervise-masks are losses of masks"),
        (["--model", "omgan", "--adversarial", "0"], "--adversarial must be above 0"),
        (
            ["--model", "om", "--supervise-masks", "1", "--perturb", "reference"],
            "--supervise-masks needs --perturb default",
        ),
        (["--mixed-precision", "fp16", "--device", "cpu"], "fp16 needs a CUDA device"),
    ],
)
def test_flags_that_make_no_sense_are_refused(monkeypatch, capsys, flags, message):
    with pytest.raises(SystemExit):
        asked(monkeypatch, *flags)
    assert message in capsys.readouterr().err


def test_the_published_network_starts_at_mid_grey():
    recipe = replace(HSCENE["reference"]["om"], size=32)
    model = networks.build("om", recipe, guided=False).eval()
    masks = model(torch.rand(1, 3, 32, 32)).masks
    assert list(masks) == ["l_mul", "a_mul", "b_mul", "l_add", "a_add", "b_add"]
    for mask in masks.values():
        assert mask.abs().mean() < 0.5  # factors too, which opmask's own start at 1
    assert model.preprocess is LAB_CENTERED.from_rgb


@pytest.mark.parametrize(("recipe", "space"), [("small", "lab"), ("reference", "lab_centered")])
def test_add_alone_has_three_masks(recipe, space):
    recipe = replace(HSCENE[recipe]["om"], size=32, masks="add")
    model = networks.build("om", recipe, guided=True)
    assert list(model.retoucher.ranges) == ["l_add", "a_add", "b_add"]
    assert [op.space.name for op in model.retoucher.operators] == [space]
    assert model.region


@pytest.mark.slow
@pytest.mark.parametrize("script", [train_hscene, train_hlip])
def test_the_reference_trains_all_models_and_omgan_from_om(monkeypatch, tmp_path, script):
    monkeypatch.setattr(script, "SCENES", 8)
    models = ["rgb", "om", "omgan"]
    run(monkeypatch, tmp_path, "--recipe", "reference", "--model", *models, script=script)
    rows = json.loads((tmp_path / "results.json").read_text())
    assert [row["model"] for row in rows] == ["composite", *models]
    assert list(log(tmp_path, "omgan")[0])[4:] == ["charbonnier", "adversarial", "discriminator"]
    for model in models:
        files = [tmp_path / model / f"{name}.safetensors" for name in ("raw", "model")]
        assert not same(*map(state, files))  # as trained, and averaged


def test_omgan_starts_from_the_weights_of_om_and_their_average(monkeypatch, tmp_path):
    run(monkeypatch, tmp_path, "--model", "om", "--ema", "0.5")
    file = tmp_path / "om" / "model.safetensors"
    flags = [*FLAGS, "--model", "omgan", "--ema", "0.5", "--init", str(file)]
    options, found = asked(monkeypatch, *flags)
    share = share_steps(found["omgan"], options.accumulate)
    started = loop.begin("omgan", found["omgan"], share, Accelerator(cpu=True), options)
    assert same(started.average.module.state_dict(), state(file))
    assert same(started.model.state_dict(), state(file.with_name("raw.safetensors")))
    assert not started.generator.optimizer.state_dict()["state"]  # optimisers are new


def test_the_average_is_that_of_the_plain_formula():
    model = torch.nn.Linear(2, 2)
    average, expected = (
        loop.make_average(model, 0.9, torch.device("cpu")),
        model.weight.clone(),
    )
    for _ in range(3):
        torch.nn.init.normal_(model.weight)
        average.update_parameters(model)
        expected = 0.9 * expected + 0.1 * model.weight
    torch.testing.assert_close(average.module.weight, expected)


def test_every_term_is_logged_and_adds_up(monkeypatch, tmp_path):
    monkeypatch.setattr(
        "reproduction.networks.LPIPS",
        lambda net, weights: opmask.losses.LPIPS(net, weights="random"),
    )
    flags = "--perceptual lpips-alex --adversarial 0.5 --tv 0.1 --sparsity 0.2 "
    flags += "--supervise-region 0.3 --supervise-masks 0.4"
    run(monkeypatch, tmp_path, "--model", "om", *flags.split())
    names = ["charbonnier", "perceptual", "adversarial", "supervise_region", "tv", "sparsity"]
    names += ["supervise_masks"]
    rows = log(tmp_path, "om")
    assert list(rows[0])[4:] == [*names, "discriminator"]
    for row in rows:
        terms = sum(float(row[name]) for name in names)
        assert float(row["loss"]) == pytest.approx(terms, rel=1e-5)
        assert float(row["discriminator"]) == pytest.approx(0.69, abs=0.2)


def test_tensorboard_gets_the_values_and_a_picture(monkeypatch, tmp_path):
    run(monkeypatch, tmp_path, "--model", "om", "--tensorboard", "--save-every", "2")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "om" / "tensorboard")).Reload()
    pixel = [event.value for event in events.Scalars("pixel")]
    assert pixel == pytest.approx([float(row["pixel"]) for row in log(tmp_path, "om")])
    assert [event.step for event in events.Images("composite, output, real")] == [2]


def test_networks_are_compiled_if_asked(monkeypatch, tmp_path):
    compiled = []
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self: compiled.append(type(self).__name__)
    )
    run(monkeypatch, tmp_path, "--model", "om", "--adversarial", "0.1", "--compile")
    assert compiled == ["OperatorMaskWrapper", "PatchDiscriminator"]


@pytest.fixture
def _fresh_accelerator():
    """Accelerate keeps the precision of the first Accelerator of a process."""
    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)


@pytest.mark.usefixtures("_fresh_accelerator")
def test_bf16_trains(monkeypatch, tmp_path):
    run(monkeypatch, tmp_path, "--model", "om", "--mixed-precision", "bf16")
    assert float(log(tmp_path, "om")[0]["change"]) < 0.01  # the identity holds under autocast


def test_hlip_trains_on_real_photographs(monkeypatch, tmp_path, data_root):
    run(
        monkeypatch,
        tmp_path,
        "--data",
        str(data_root / "people"),
        "--model",
        "om",
        script=train_hlip,
    )
    assert json.loads((tmp_path / "results.json").read_text())[0]["mse"] > 0


def test_the_best_recipe_adds_with_a_perceptual_loss_and_averages_its_weights(monkeypatch):
    recipe = asked(monkeypatch, "--recipe", "best", "--model", "om")[1]["om"]
    assert (recipe.masks, recipe.perceptual, recipe.steps) == ("add", "lpips-alex", 4000)
    assert recipe.ema == 0.998
    assert asked(monkeypatch, "--recipe", "best", "--model", "omgan")[1]["omgan"].adversarial
