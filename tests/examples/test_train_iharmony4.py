"""The published networks that are given the region: their recipes, and what becomes of them."""

import csv
import json
import signal
import sys
from dataclasses import replace

import evaluate
import pytest
import torch
import train_iharmony4
from accelerate import Accelerator
from PIL import Image
from reproduction import given_task, iharmony4, loop, train
from reproduction.data import Share
from reproduction.given import FAMILIES, GIVEN, PUBLISHED, build_given
from reproduction.scoring import Pasted

import opmask
from opmask.backbones import DHT, BargainNet, DoveNet, HarmonyTransformerPlus, RainNet
from opmask.datasets.making import photos_by_split
from opmask.perturb import CompositeBatch

TINY = "--steps 4 --size 32 --batch-size 2 --width 4 --layers 1 --critic-width 4 --workers 0"


@pytest.fixture(autouse=True)
def _few_scenes(monkeypatch):
    monkeypatch.setattr(given_task, "SCENES", 10)
    monkeypatch.setattr(given_task, "TESTED", 2)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with two subsets."""
    root = tmp_path_factory.mktemp("ih")
    for seed, subset in enumerate(("HOne", "HTwo")):
        photos = photos_by_split("scenes:6", test_share=1 / 3, seed=seed, size=32)
        config = opmask.datasets.MakingConfig(subset, seed)
        opmask.datasets.make_iharmony4(photos, root, config)
    return root


def run(monkeypatch, out, *flags):
    argv = ["train_iharmony4.py", *TINY.split(), "--device", "cpu", "--out", str(out), *flags]
    monkeypatch.setattr(sys, "argv", argv)
    train_iharmony4.main()


def weights(path):
    return opmask.load(path / "model.safetensors").state_dict()


def log(path):
    return list(csv.DictReader((path / "log.csv").read_text().splitlines()))


def batch(size=64):
    torch.manual_seed(0)
    real, composite = torch.rand(2, 2, 3, size, size)
    region = torch.zeros(2, 1, size, size)
    region[..., 20:] = 1
    return CompositeBatch(composite, real, region, (None, None))


# --- recipes ---


@pytest.mark.parametrize(
    ("name", "lr", "betas", "batch", "epochs", "fade", "paste"),
    [
        ("dovenet", 2e-4, (0.5, 0.999), 1, 200, 1 / 2, "never"),
        ("rainnet", 2e-4, (0.5, 0.999), 11, 200, 1 / 2, "always"),
        ("bargainnet", 1e-4, (0.9, 0.999), 1, 100, 0, "never"),
        ("ht", 1e-4, (0.5, 0.999), 4, 60, 1 / 2, "evaluation"),
        ("dht", 1e-4, (0.5, 0.999), 4, 60, 1 / 2, "evaluation"),
        ("ht-lab", 8e-5, (0.5, 0.999), 8, 90, 50 / 90, "evaluation"),
    ],
)
def test_the_published_recipes(name, lr, betas, batch, epochs, fade, paste):
    recipe = PUBLISHED[name]
    assert (recipe.lr, recipe.betas, recipe.batch, recipe.paste) == (lr, betas, batch, paste)
    assert (recipe.steps, recipe.fade) == (-(-65_742 // batch) * epochs, fade)
    assert (recipe.size, recipe.width, recipe.layers) == (256, 0, 0)


def test_the_published_losses():
    terms = {name: train.term_names(recipe) for name, recipe in PUBLISHED.items()}
    assert terms["dovenet"] == terms["rainnet"] == ["l1", "adversarial", "discriminator"]
    assert terms["bargainnet"] == ["l1", "triplet"]
    assert terms["ht"] == terms["ht-lab"] == terms["dht"] == ["l1"]
    dovenet, bargainnet = PUBLISHED["dovenet"], PUBLISHED["bargainnet"]
    assert (dovenet.l1, dovenet.adversarial, dovenet.penalty) == (100, 1, 10)
    assert (bargainnet.l1, bargainnet.triplet) == (1, 0.01)


@pytest.mark.parametrize(
    ("name", "kind", "parameters"),
    [
        ("dovenet", DoveNet, 54_755_587),
        ("rainnet", RainNet, 54_759_043),
        ("bargainnet", BargainNet, 54_776_324 + 3_919_376),
        ("ht", HarmonyTransformerPlus, 4_772_867),
        ("dht", DHT, 26_515_654),
        ("ht-lab", HarmonyTransformerPlus, 4_785_158),
        ("ht-hls-add", HarmonyTransformerPlus, 4_772_867),
    ],
)
def test_the_published_recipes_build_networks_of_the_published_size(name, kind, parameters):
    network = build_given(name, PUBLISHED[name]).backbone
    assert type(network) is kind
    assert sum(p.numel() for p in network.parameters()) == parameters


def test_a_discriminator_of_the_published_size():
    critic = loop.build_critic(PUBLISHED["dovenet"])
    assert sum(p.numel() for p in critic.parameters()) == 17_787_138


@pytest.mark.parametrize("name", ["dovenet", "rainnet", "bargainnet"])
def test_weights_of_published_u_nets_are_drawn_as_theirs(name):
    recipe = replace(PUBLISHED[name], size=64, width=8, depth=5)
    for drawn in (True, False):
        model = build_given(name, replace(recipe, drawn=drawn))
        first, last = model.backbone.encoder[1][0].weight, model.backbone.out[1]
        assert (abs(first.std().item() - 0.02) < 1e-3) == drawn
        assert (last.bias.abs().sum() == 0) == drawn
    assert not FAMILIES["small"][name].drawn


def test_biases_of_the_published_discriminator_are_0_and_spectral_norms_keep_their_start():
    critic = loop.build_critic(replace(PUBLISHED["dovenet"], size=64, critic_width=16))
    assert all((p == 0).all() for name, p in critic.named_parameters() if name.endswith("bias"))
    assert abs(critic.judge_whole.weight.std().item() - 0.02) < 0.01
    first = critic.whole[0].convolution.parametrizations.weight.original
    assert first.std() > 0.05


def test_the_rate_falls_along_a_line_at_the_end():
    recipe = replace(PUBLISHED["ht"], steps=8, fade=1 / 2)
    learner, used = loop.make_learner(torch.nn.Linear(1, 1), recipe, Accelerator(cpu=True)), []
    for _ in range(8):
        used.append(learner.optimizer.param_groups[0]["lr"] / recipe.lr)
        learner.step()
    assert used == pytest.approx([1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2])


@pytest.mark.parametrize("name", GIVEN)
def test_models_of_both_families_map_images_and_regions_to_images(name):
    samples = batch()
    model = build_given(name, FAMILIES["small"][name]).eval()
    with torch.no_grad():
        assert model(samples.composite, samples.region).image.shape == samples.real.shape


@pytest.mark.parametrize("name", ["ht-lab", "ht-hls", "ht-hls-add"])
def test_small_models_of_masks_start_at_the_identity(name):
    samples = batch()
    result = build_given(name, FAMILIES["small"][name]).eval()(samples.composite, samples.region)
    torch.testing.assert_close(result.image, samples.composite, atol=1e-4, rtol=0)
    assert len(result.masks) == (3 if name == "ht-hls-add" else 6)


# --- terms of the loss ---


def test_dovenet_s_losses_are_the_plain_formulas():
    samples, image = batch(), torch.rand(2, 3, 64, 64)
    recipe = replace(FAMILIES["small"]["dovenet"], critic_width=4)
    critic = loop.build_critic(recipe).eval()
    both = [2 * samples.real - 1, 2 * image - 1]
    (whole, parts), (fake_whole, fake_parts) = [critic(x, samples.region) for x in both]
    result = opmask.Retouched(image, {})
    terms = train.generator_terms(recipe, (samples, None), None, result, None, critic)
    expected = -fake_whole.mean() - fake_parts.mean()
    torch.testing.assert_close(terms["adversarial"], expected)
    torch.testing.assert_close(terms["l1"], 200 * (image - samples.real).abs().mean())
    hinges = [(1 - whole).relu(), (1 - parts).relu(), (1 + fake_whole).relu()]
    hinges += [(1 + fake_parts).relu()]
    loss = train.discriminator_loss(replace(recipe, penalty=0.0), critic, samples, image)
    torch.testing.assert_close(loss, sum(hinge.mean() for hinge in hinges))
    assert train.discriminator_loss(recipe, critic, samples, image) > loss


def test_the_triplets_reach_the_network_that_describes_looks():
    samples, recipe = batch(), replace(FAMILIES["small"]["bargainnet"], width=4)
    model = build_given("bargainnet", recipe)
    result = model(samples.composite, samples.region)
    terms = train.generator_terms(recipe, (samples, None), model, result, None, None)
    terms["triplet"].backward()
    assert list(terms) == ["l1", "triplet"]
    assert model.backbone.extractor.out.weight.grad.abs().sum() > 0


# --- data ---


def test_samples_are_flipped_half_of_the_time_or_not_at_all(root):
    samples = opmask.datasets.IHarmony4(root, "train", size=32)
    plain = iharmony4.Endless(samples, len(samples), seed=0, flip=False)
    flipped = iharmony4.Endless(samples, len(samples), seed=0)
    same = [torch.equal(plain[i].real, flipped[i].real) for i in range(64)]
    assert 20 < sum(same) < 44
    turned = [torch.equal(plain[i].region, flipped[i].region.flip(-1)) for i in range(64)]
    assert all(a or b for a, b in zip(same, turned, strict=True))


def test_processes_share_the_samples_of_a_step(root):
    samples = opmask.datasets.IHarmony4(root, "train", size=32)
    endless = iharmony4.Endless(samples, len(samples), seed=0)

    def read(share):
        return [b.real for b in iharmony4.read_positions(endless, range(2), share, 0, "cpu")]

    one = torch.cat(read(Share(4)))
    first, second = (read(Share(2, 1, process, 2)) for process in range(2))
    both = [half for pair in zip(first, second, strict=True) for half in pair]
    assert torch.equal(torch.cat(both), one)


# --- runs ---


def test_a_run_leaves_one_table_with_both_protocols_and_all_subsets(monkeypatch, tmp_path, root):
    models = ["dovenet", "bargainnet", "ht-lab"]
    run(monkeypatch, tmp_path, "--data", str(root), "--model", *models)
    table = (tmp_path / "results.md").read_text().splitlines()
    assert table[0].startswith("| images | model | MSE, ih4-256 | PSNR, ih4-256 | fMSE, ih4-256 |")
    assert "fMSE, reference-ih4" in table[0]
    starts = [line.split("|")[1:3] for line in table[2:14]]
    places = [place for place in (" HOne (2) ", " HTwo (2) ", " All (4) ") for _ in range(4)]
    assert [place for place, _ in starts] == places
    assert [name.strip() for _, name in starts] == ["composite", *models] * 3
    scores = json.loads((tmp_path / "results.json").read_text())
    assert list(scores) == ["ih4-256", "reference-ih4"]
    assert "add_iou" in scores["ih4-256"]["ht-lab"][0]
    rows = list(csv.DictReader((tmp_path / "reference-ih4.csv").read_text().splitlines()))
    assert len(rows) == 16
    for picture in ("panel.png", "loss.png"):
        Image.open(tmp_path / picture).verify()


@pytest.mark.slow
def test_every_model_trains_on_scenes_without_data(monkeypatch, tmp_path):
    run(monkeypatch, tmp_path)
    assert len(opmask.datasets.IHarmony4(tmp_path / "iharmony4", "train")) == 8
    for name in GIVEN:
        assert len(log(tmp_path / name)) == 4
        assert opmask.load(tmp_path / name / "model.safetensors").region


def test_every_term_is_logged_and_adds_up(monkeypatch, tmp_path, root):
    run(monkeypatch, tmp_path, "--data", str(root), "--model", "rainnet")
    rows = log(tmp_path / "rainnet")
    assert list(rows[0])[4:] == ["l1", "adversarial", "discriminator"]
    for row in rows:
        total = float(row["l1"]) + float(row["adversarial"])
        assert float(row["loss"]) == pytest.approx(total, rel=1e-5)


def test_rainnet_pastes_in_training_and_ht_at_test_alone(monkeypatch, tmp_path, root):
    run(monkeypatch, tmp_path, "--data", str(root), "--model", "rainnet", "ht")
    image, region = torch.rand(1, 3, 32, 32), torch.zeros(1, 1, 32, 32)
    loaded = {n: opmask.load(tmp_path / n / "model.safetensors") for n in ("rainnet", "ht")}
    assert {name: model.paste for name, model in loaded.items()} == {
        "rainnet": "always",
        "ht": "evaluation",
    }
    assert all(torch.equal(m(image, region).image, image) for m in loaded.values())


def test_an_interrupted_run_resumes_to_the_same_weights(monkeypatch, tmp_path, root):
    flags = ["--data", str(root), "--model", "dovenet", "--ema", "0.5"]
    run(monkeypatch, tmp_path / "whole", *flags)
    step, calls = loop.advance, []

    def interrupting(*args):
        calls.append(args)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return step(*args)

    monkeypatch.setattr(loop, "advance", interrupting)
    with pytest.raises(KeyboardInterrupt, match=r"at step 2. Add --resume to go on"):
        run(monkeypatch, tmp_path / "parts", *flags)
    run(monkeypatch, tmp_path / "parts", *flags, "--resume")
    assert len(calls) == 4
    whole, parts = (weights(tmp_path / part / "dovenet") for part in ("whole", "parts"))
    torch.testing.assert_close(parts, whole, rtol=0, atol=0)
    tables = [(tmp_path / part / "results.md").read_text() for part in ("whole", "parts")]
    assert tables[0] == tables[1]


def test_models_of_other_batches_train_one_after_the_other(monkeypatch):
    recipes = {name: PUBLISHED[name] for name in ("dovenet", "ht", "bargainnet", "dht")}
    shares = {name: loop.share_steps(recipe, 0) for name, recipe in recipes.items()}
    stages = loop.stages_of(recipes, shares)
    assert stages == [["dovenet"], ["ht", "dht"], ["bargainnet"]]
    assert [shares[names[0]].step_size for names in stages] == [1, 4, 1]


@pytest.mark.slow
def test_evaluate_scores_the_run_as_the_table_does(monkeypatch, tmp_path, root, capsys):
    run(monkeypatch, tmp_path, "--data", str(root), "--model", "ht", "ht-hls-add")
    table = json.loads((tmp_path / "results.json").read_text())["ih4-256"]
    argv = ["evaluate.py", str(tmp_path), "--iharmony4", str(root), "--size", "32", "--paste"]
    argv += ["--csv", str(tmp_path / "scores.csv"), "--device", "cpu", "--workers", "0"]
    monkeypatch.setattr(sys, "argv", argv)
    evaluate.main()
    rows = list(csv.DictReader((tmp_path / "scores.csv").read_text().splitlines()))
    for name in ("ht", "ht-hls-add"):
        scored = [float(row["mse"]) for row in rows if row["model"] == name]
        assert scored == pytest.approx([row["mse"] for row in table[name]], abs=1e-6)


def test_what_masks_make_of_an_image_is_pasted_for_the_table():
    recipe = FAMILIES["small"]["ht-lab"]
    model = build_given("ht-lab", recipe)
    assert isinstance(given_task.finished(model, recipe), Pasted)
    assert given_task.finished(model, replace(recipe, paste="never")) is model
    painted = build_given("ht", FAMILIES["small"]["ht"])
    assert given_task.finished(painted, recipe) is painted


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--fade", "1.5"], "--fade must be at most 1, all steps, got 1.5"),
        (["--milestones", "2"], "--milestones need --fade 0"),
        (["--penalty", "1", "--critic", "patch"], "--penalty is a loss of --critic domain"),
        (["--compile"], "--compile has no second derivatives, which the losses of dovenet need"),
        (["--triplet", "1", "--model", "ht"], "--triplet is a loss of the model bargainnet"),
        (["--supervise-masks", "1"], "--supervise-masks needs label maps"),
        (["--tv", "1", "--model", "ht"], "are losses of masks, and the model ht has none"),
        (["--perturb", "default"], "unrecognized arguments: --perturb default"),
        (["--model", "om"], "--model: invalid choice: 'om'"),
    ],
)
def test_what_does_not_go_together_is_refused(monkeypatch, tmp_path, capsys, flags, message):
    with pytest.raises(SystemExit):
        run(monkeypatch, tmp_path / "out", *flags)
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_without_composites_is_refused_before_training(monkeypatch, tmp_path):
    with pytest.raises(FileNotFoundError, match="'root' must hold composites"):
        run(monkeypatch, tmp_path / "out", "--data", str(tmp_path))
    assert not (tmp_path / "out").exists()


def test_a_missing_subset_is_refused_before_training(monkeypatch, tmp_path, root):
    with pytest.raises(FileNotFoundError, match="HCOCO"):
        run(monkeypatch, tmp_path / "out", "--data", str(root), "--subset", "HCOCO")
    assert not (tmp_path / "out").exists()
