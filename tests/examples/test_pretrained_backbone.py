import pickle
import re
import sys

import huggingface_hub
import pretrained_backbone
import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from PIL import Image
from pretrained_backbone import Normalize, load_encoder, load_model, read_weights
from reproduction import data
from safetensors.torch import save_file

from opmask import OperatorMaskWrapper
from opmask.backbones import RegionUNet


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(pretrained_backbone, "SCENES", 4)
    monkeypatch.setattr(data, "VALIDATION", 6)


def run(monkeypatch, out, *flags: str) -> None:
    options = ["--steps", "2", "--size", "32", "--batch-size", "2", "--workers", "0"]
    options += ["--device", "cpu", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["pretrained_backbone.py", *options, *flags])
    pretrained_backbone.main()


def test_a_run_leaves_a_model_that_loads_and_a_panel(monkeypatch, tmp_path, capsys):
    run(monkeypatch, tmp_path, "--encoder", "tu-mobilenetv3_small_050")
    printed = capsys.readouterr().out
    assert "starts from random numbers" in printed
    assert "| composite |" in printed
    assert "| om |" in printed
    Image.open(tmp_path / "panel.png").verify()
    (call,) = re.findall(r"pretrained_backbone\.(load_model\(.+\))", printed)
    model = eval(call, {"load_model": load_model}).eval()
    assert model.preprocess.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    masks = model.predict(torch.rand(1, 3, 32, 32))
    assert any((mask - mask.mean()).abs().max() > 0 for mask in masks.values())


def test_the_loaded_model_is_the_trained_one(monkeypatch, tmp_path):
    kept = {}
    monkeypatch.setattr(pretrained_backbone, "save_panel", lambda *_: None)
    evaluate = pretrained_backbone.evaluate
    monkeypatch.setattr(
        pretrained_backbone, "evaluate", lambda m, b: kept.update(model=m) or evaluate(m, b)
    )
    run(monkeypatch, tmp_path, "--encoder", "tu-resnet10t")
    loaded = load_model(tmp_path / "model.safetensors", "tu-resnet10t").eval()
    image = torch.rand(1, 3, 40, 50)
    torch.testing.assert_close(loaded(image).image, kept["model"](image).image)


@pytest.mark.parametrize("name", ["resnet10t", "mobilenetv3_small_050", "efficientnet_b0"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_files_of_timm_load_into_the_encoder(tmp_path, name, suffix):
    weights, path = timm.create_model(name).state_dict(), tmp_path / f"weights{suffix}"
    save_file(weights, path) if suffix == ".safetensors" else torch.save(weights, path)
    encoder = smp.Unet(f"tu-{name}", encoder_weights=None).encoder
    load_encoder(encoder, read_weights(path))
    features = timm.create_model(name, features_only=True).eval()
    theirs = {key.replace(".", "_"): value for key, value in weights.items()}
    features.load_state_dict({key: theirs[key.replace(".", "_")] for key in features.state_dict()})
    image = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(encoder.eval()(image)[-1], features(image)[-1])


def test_names_that_timm_flattens_are_found():
    source, encoder = (smp.Unet("tu-vgg11", encoder_weights=None).encoder for _ in range(2))
    stored = source.state_dict()
    load_encoder(encoder, {k.replace("model.features_", "features."): stored[k] for k in stored})
    torch.testing.assert_close(encoder.state_dict(), stored, rtol=0, atol=0)


def test_torchvision_s_vgg16_loads_into_the_encoder(monkeypatch, tmp_path, data_root, capsys):
    path = data_root / "weights" / "vgg16_features_fp16.pth"
    encoder = smp.Unet("tu-vgg16", encoder_weights=None).encoder
    load_encoder(encoder, read_weights(path))
    stored = torch.load(path, weights_only=True)
    loaded = {
        key.replace("model.features_", "features."): v for key, v in encoder.state_dict().items()
    }
    assert loaded.keys() == stored.keys()
    assert all(torch.equal(loaded[key], stored[key].float()) for key in stored)
    assert "from 26 of the file's 26 tensors" in capsys.readouterr().out


def test_the_packaged_weights_load_by_their_order(capsys):
    path = pretrained_backbone.find_weights("tu-tf_efficientnet_lite0")
    encoder = smp.Unet("tu-tf_efficientnet_lite0", encoder_weights=None).encoder.eval()
    load_encoder(encoder, read_weights(path))
    assert "from 240 of the file's 296 tensors" in capsys.readouterr().out
    net = RegionUNet(width=8, trunk="lite0")
    net.load_trunk(path)
    image = torch.rand(1, 3, 64, 64)
    features = encoder((image - net.trunk.mean) / net.trunk.deviation)
    for ours, theirs in zip(net.trunk(image)[:2], features[2:4], strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


def test_old_files_without_counts_of_batches_load():
    weights = timm.create_model("resnet10t").state_dict()
    weights = {k: v for k, v in weights.items() if not k.endswith("num_batches_tracked")}
    encoder = smp.Unet("tu-resnet10t", encoder_weights=None).encoder
    load_encoder(encoder, weights)
    assert torch.equal(encoder.model.bn1.weight, weights["bn1.weight"])


@pytest.mark.parametrize("change", ["missing", "shape"])
def test_weights_that_do_not_fit_are_refused(change):
    weights = timm.create_model("resnet10t").state_dict()
    weights["bn1.weight"] = torch.ones(3)
    if change == "missing":
        del weights["bn1.weight"]
    with pytest.raises(SystemExit, match=r"1 of its \d+ tensors .*bn1\.weight'\]; the file"):
        load_encoder(smp.Unet("tu-resnet10t", encoder_weights=None).encoder, weights)


def test_files_that_are_no_weights_are_refused(tmp_path):
    for name in ("text.pth", "text.safetensors"):
        (tmp_path / name).write_text("nothing")
        with pytest.raises(SystemExit, match=f"{name} is no file of weights alone"):
            read_weights(tmp_path / name)
    torch.save({"state_dict": {}}, tmp_path / "nested.pth")
    with pytest.raises(SystemExit, match="must hold tensors by name"):
        read_weights(tmp_path / "nested.pth")
    torch.save(Normalize("tu-resnet18"), tmp_path / "object.pth")  # would run code when unpickled
    with pytest.raises(SystemExit, match="is no file of weights alone"):
        read_weights(tmp_path / "object.pth")


def test_pretrained_weights_are_taken_from_the_cache(monkeypatch, tmp_path, capsys):
    folder = tmp_path / "models--timm--resnet10t.c3_in1k"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    save_file(timm.create_model("resnet10t").state_dict(), snapshot / "model.safetensors")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    run(monkeypatch, tmp_path / "out", "--encoder", "tu-resnet10t", "--pretrained")
    assert re.search(r"starts from \d+ of the file's \d+ tensors", capsys.readouterr().out)


@pytest.mark.parametrize("encoder", ["tu-resnet10t", "tu-legacy_seresnet18"])
def test_weights_that_are_not_cached_say_how_to_get_them(monkeypatch, tmp_path, encoder):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(SystemExit, match=rf"create_model\('{encoder[3:]}', pretrained=True\)"):
        run(monkeypatch, tmp_path / "out", "--encoder", encoder, "--pretrained")


def test_pictures_are_normalised_as_the_encoder_was_pretrained():
    settings, image = timm.get_pretrained_cfg("vit_base_patch16_224"), torch.rand(2, 3, 4, 4)
    expected = [(image[:, c] - settings.mean[c]) / settings.std[c] for c in range(3)]
    normalize = pickle.loads(pickle.dumps(Normalize("tu-vit_base_patch16_224")))
    torch.testing.assert_close(normalize(image), torch.stack(expected, 1))
    assert settings.mean == (0.5, 0.5, 0.5)


def test_every_trained_parameter_is_in_one_group_with_its_own_rate():
    net = pretrained_backbone.build_network("tu-resnet10t")
    model = OperatorMaskWrapper(net, preprocess=Normalize("tu-resnet10t"))
    groups = pretrained_backbone.parameter_groups(net, model, rate=1e-3, encoder_rate=1e-4)
    encoder, rest = groups
    assert (encoder["lr"], rest["lr"]) == (1e-4, 1e-3)
    assert set(encoder["params"]) == set(net.encoder.parameters())
    assert set(rest["params"]) >= {*net.decoder.parameters(), *model.head.parameters()}
    together = [*encoder["params"], *rest["params"]]
    assert len(together) == len(set(together)) == sum(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--encoder", "resnet18"], "--encoder: must be 'tu-' and a name of timm.list_models()"),
        (["--encoder", "tu-resnet"], "--encoder: must be 'tu-' and a name"),
        (["--encoder", "tu-resnet18.x"], "--encoder: Invalid pretrained tag (x) for resnet18"),
        (["--weights", "nowhere.pth"], "--weights: must be a file or folder, but there is no"),
        (["--weights", ".", "--pretrained"], "--pretrained: not allowed with argument --weights"),
        (["--rate", "0"], "--rate: must be a number above 0, got 0"),
        (["--encoder-rate", "fast"], "--encoder-rate: must be a number above 0, got fast"),
    ],
)
def test_bad_arguments_are_refused_at_once(monkeypatch, tmp_path, capsys, flags, message):
    with pytest.raises(SystemExit):
        run(monkeypatch, tmp_path, *flags)
    assert message in capsys.readouterr().err
