import sys
import threading

import pytest
import torch
from torch import nn

import opmask
from opmask import OperatorMaskWrapper
from opmask.backbones import SmallUNet
from opmask.inference import harmonize
from opmask.inference.plan import for_inference


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.9))


def test_a_model_in_evaluation_mode_is_run_itself():
    model = network().eval()
    assert for_inference(model) is model


def test_a_model_in_training_mode_is_not_touched_and_its_weights_are_shared():
    model = network()
    model[2].eval()
    ready = for_inference(model)
    assert [m.training for m in model.modules()] == [True, True, True, False]
    assert not any(m.training for m in ready.modules())
    pairs = zip(ready.state_dict().values(), model.state_dict().values(), strict=True)
    assert all(a.data_ptr() == b.data_ptr() for a, b in pairs)


@pytest.mark.filterwarnings("ignore:.*(weight|spectral)_norm:FutureWarning")
@pytest.mark.parametrize("norm", [nn.utils.spectral_norm, nn.utils.weight_norm])
def test_weights_that_were_computed_do_not_hinder(norm):
    model, image = network(), torch.rand(2, 3, 16, 16)
    norm(model[0])
    model(image)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for_inference(model)(image)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_what_cannot_be_copied_raises_and_says_what_to_do():
    model = network()
    model.lock = threading.Lock()
    with pytest.raises(ValueError, match=r"that copy\.deepcopy can copy, .*Call model\.eval\(\)"):
        for_inference(model)
    assert for_inference(model.eval()) is model


@pytest.fixture
def eager_threads():
    """Threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.parametrize("mode", ["as loaded", "training"])
def test_threads_that_share_a_model_get_what_one_gets_and_leave_it_as_it_was(
    mode, tmp_path, eager_threads
):
    model = OperatorMaskWrapper(SmallUNet(width=8))
    nn.init.normal_(model.head.layer.weight)
    opmask.save(model, tmp_path / "model.safetensors")
    model = opmask.load(tmp_path / "model.safetensors")
    images = [torch.rand(3, 64, 64 + 16 * i) for i in range(4)]
    expected = [harmonize(model, image) for image in images]
    model.train(mode == "training")
    flags = [module.training for module in model.modules()]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(10):
            if not torch.equal(harmonize(model, images[i]), expected[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert [module.training for module in model.modules()] == flags
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
