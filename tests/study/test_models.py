"""Pictures that models make: opmask's own, and published networks at reduced widths."""

import numpy as np
import pytest
import torch

import opmask
from opmask.backbones import (
    DHT,
    DIRL,
    S2AD,
    AttentionUNet,
    BargainNet,
    DoveNet,
    HarmonyTransformer,
    HarmonyTransformerPlus,
    RainNet,
)
from opmask.checkpoints.published import bargainnet, dht, dirl, dovenet, rainnet, s2ad
from opmask.checkpoints.published import harmony_transformer as ht
from opmask.checkpoints.reference import generator_names
from opmask.study.models import PUBLISHED, Models, load_model
from opmask.study.sources import read_source

HEIGHT, WIDTH = 40, 60
SMALL = {"width": 8, "depth": 5}
TOKENS = {"width": 16, "layers": 1}


def published(net, names):
    state = net.state_dict()
    return {theirs: state[ours] for theirs, ours in names.items()}


def masks_of_ht():
    state = published(HarmonyTransformerPlus(**TOKENS), ht.names_of("plus", 1))
    for kind in "weight", "bias":
        head = state.pop(f"dec.0.{kind}")
        state |= {f"dec1.0.{kind}": head, f"dec2.0.{kind}": head}
    return state


def state_dicts(kind):
    """The content of each file of a kind, in order."""
    doves = published(DoveNet(**SMALL), dovenet.dovenet_names(5))
    match kind:
        case "dovenet":
            return [doves]
        case "rainnet":
            return [published(RainNet(**SMALL), rainnet.rainnet_names(5))]
        case "bargainnet":
            net = BargainNet(**SMALL, code_width=8, code_depth=2)
            return [
                published(net, bargainnet.generator_names(5)),
                published(net, bargainnet.extractor_names(2)),
            ]
        case "ht":
            return [published(HarmonyTransformer(**TOKENS), ht.names_of("v1", 1))]
        case "ht-plus":
            return [published(HarmonyTransformerPlus(**TOKENS), ht.names_of("plus", 1))]
        case "dht" | "dht-v2":
            version = "v1" if kind == "dht" else "v2"
            net = DHT(version=version, **TOKENS)
            return [published(net, dht.dht_names(version, 1))]
        case "s2ad":
            return [published(S2AD(**SMALL), s2ad.s2ad_names(5))]
        case "dirl+dovenet":
            finder = DIRL(width=4, channels=8)
            parts = (finder.encoder, dirl.encoder_names()), (finder.decoder, dirl.decoder_names())
            return [*(published(*part) for part in parts), doves]
        case "sgmmh":
            return [published(AttentionUNet(**SMALL), generator_names(5))]
    return [masks_of_ht()]


@pytest.fixture
def files(tmp_path):
    """Writes the files of a kind; the source that names them."""

    def write(kind):
        paths = [tmp_path / f"{kind}{number}.pth" for number in range(3)]
        contents = state_dicts(kind)
        for path, content in zip(paths, contents, strict=False):
            torch.save(content, path)
        return f"{kind}:{','.join(map(str, paths[: len(contents)]))}"

    return write


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def half():
    region = torch.zeros(1, 1, HEIGHT, WIDTH)
    region[..., WIDTH // 2 :] = 1
    return region


@pytest.mark.parametrize("kind", PUBLISHED)
def test_published_files_make_pictures_of_the_size_of_the_composite(
    kind, files, picture, monkeypatch
):
    monkeypatch.setattr("opmask.study.models.SIDE", 32)
    models = read_source("m", files(kind)).load()
    assert models.region == ("never" if kind in ("dirl+dovenet", "sgmmh") else "needed")
    made = models.harmonize(picture, half(), work_size=32)
    assert (made.shape, made.dtype) == (picture.shape, np.uint8)
    assert not np.array_equal(made, picture)


def test_what_is_painted_is_pasted_into_the_region(files, picture):
    made = read_source("m", files("dovenet")).load().harmonize(picture, half(), work_size=32)
    np.testing.assert_array_equal(made[:, : WIDTH // 2], picture[:, : WIDTH // 2])
    assert np.abs(made[:, WIDTH // 2 :].astype(int) - picture[:, WIDTH // 2 :]).mean() > 9


class _Paints(torch.nn.Module):
    """Paints what it sees, and remembers it."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, image):
        self.seen = image
        return image[:, :3] * self.weight


@pytest.mark.parametrize("region", [True, False])
def test_networks_that_paint_do_so_in_a_square_of_the_work_size(picture, region):
    net = _Paints()
    model = opmask.DirectRGB(net, region=region, centered=False)
    made = Models(model, "needed").harmonize(picture, half() if region else None, work_size=48)
    assert net.seen.shape == (1, 4 if region else 3, 48, 48)
    assert set(net.seen[:, 3:].unique().tolist()) <= {0.0, 1.0}
    smooth = np.abs(made.astype(int) - picture).mean()
    assert 5 < smooth < 60  # noise loses its finest detail, and no more


def test_two_stages_paint_where_the_first_finds_the_region(picture):
    model = opmask.DirectRGB(_Paints(), region=True, centered=False)
    finder = torch.nn.Identity()
    finder.forward = lambda image: (torch.arange(224.0) >= 112).expand(1, 1, 224, 224).float()
    made = Models(model, "never", finder).harmonize(picture, work_size=32)
    np.testing.assert_array_equal(made[:, : WIDTH // 2 - 1], picture[:, : WIDTH // 2 - 1])
    assert not np.array_equal(made, picture)


def test_a_model_of_opmask_does_what_harmonize_does(tmp_path, picture):
    model = opmask.OperatorMaskWrapper(opmask.backbones.SmallUNet(width=8)).eval()
    torch.nn.init.normal_(model.head.layer.bias)
    opmask.save(model, tmp_path / "model.safetensors")
    made = load_model(tmp_path / "model.safetensors").harmonize(picture, half(), work_size=32)
    np.testing.assert_array_equal(made, opmask.harmonize(model, picture, work_size=32))
    assert not np.array_equal(made, picture)


def test_files_of_another_network_are_refused_in_words_of_sources(files):
    path = files("rainnet").partition(":")[2]
    with pytest.raises(ValueError, match=r"like a generator of RainNet: write rainnet:GENERATOR"):
        read_source("m", f"dovenet:{path}").load()
    path = files("dht-v2").partition(":")[2]
    with pytest.raises(ValueError, match=r"like a second D-HT: write dht-v2:GENERATOR"):
        read_source("m", f"dht:{path}").load()


def test_a_model_of_opmask_is_named_without_a_network(tmp_path):
    path = tmp_path / "model.safetensors"
    opmask.save(opmask.OperatorMaskWrapper(opmask.backbones.SmallUNet(width=8)), path)
    with pytest.raises(ValueError, match=r"is a safetensors file\. Write its name alone"):
        read_source("m", f"dovenet:{path}").load()
