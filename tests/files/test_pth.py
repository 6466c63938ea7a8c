"""Files of torch.save, hostile ones included: refused by name, and in little memory."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from opmask.checkpoints import load_reference_checkpoint, load_reference_discriminator
from opmask.discriminator import PatchDiscriminator
from opmask.files.pth import check_weights, read_pth, read_weights


class Blob:
    """Asks for a gigabyte when it is unpickled, with what torch allows in a weights-only file."""

    def __reduce__(self):
        return bytearray, (10**9,)


def quantized():
    return torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.quint8)


def nested():
    return torch.nested.nested_tensor([torch.ones(1), torch.ones(2)], layout=torch.jagged)


CONTENTS = {
    "sparse": (
        lambda: torch.eye(3).to_sparse(),
        r"dense tensors .* .*_rebuild_sparse_tensor'",
    ),
    "compressed rows": (lambda: torch.eye(3).to_sparse_csr(), "dense tensors"),
    "quantised": (quantized, r"dense tensors .* needs .*_rebuild_qtensor'"),
    "nested": (nested, r"run code to rebuild|dense tensors"),
    "complex": (lambda: torch.zeros(3, dtype=torch.complex64), "needs .*ComplexFloatStorage"),
    "meta": (lambda: torch.ones(10**9, device="meta"), r"needs .*_rebuild_meta_tensor_no_"),
    "bytearray": (Blob, r"run code to rebuild '(__builtin__|builtins)\.bytearray'"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", CONTENTS)
def test_what_is_no_dense_tensor_is_refused_by_name(name, zipped, tmp_path):
    make, message = CONTENTS[name]
    torch.save({"x": make()}, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=message) as error:
        read_pth(tmp_path / "a.pth")
    assert str(error.value).startswith(f"'{tmp_path / 'a.pth'}' ")


@pytest.mark.filterwarnings("error")  # torch warns of other protocols
@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("zipped", [True, False])
def test_another_protocol_of_pickle_is_refused(protocol, zipped, tmp_path):
    options = {"pickle_protocol": protocol, "_use_new_zipfile_serialization": zipped}
    torch.save({"x": torch.ones(2)}, tmp_path / "a.pth", **options)
    with pytest.raises(
        ValueError, match=rf"a\.pth' must be pickled with protocol 2.* {protocol}\."
    ):
        read_pth(tmp_path / "a.pth")


BAD_TENSORS = {
    "expanded": (torch.zeros(1).expand(60_000, 60_000), "stored whole, but its 3600000000 values"),
    "part of a larger one": (torch.zeros(100)[:3], "its 3 values stand for 100 in the file"),
    "integers": (torch.zeros(3, dtype=torch.long), r"floating-point numbers, got torch\.int64"),
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", BAD_TENSORS)
def test_a_tensor_that_is_not_in_the_file_is_refused_by_name(name, zipped, tmp_path):
    tensor, message = BAD_TENSORS[name]
    path = tmp_path / "a.pth"
    torch.save({"x": tensor}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=rf"a\.pth'.*: 'x' must .*{message}"):
        read_weights(path, {"x": tensor.shape}, "x")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("zipped", [True, False])
def test_weights_come_back_in_single_precision(dtype, zipped, tmp_path):
    value = torch.randn(3, 4).to(dtype)
    content = {"x": value, "y": nn.Parameter(value.T), "rest": [1, "two", torch.Size([3])]}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    found = read_weights(tmp_path / "a.pth", {"x": value.shape, "y": value.T.shape}, "it")
    torch.testing.assert_close(found, {"x": value.float(), "y": value.T.float()}, rtol=0, atol=0)


def rezipped(path, compression, extra=0):
    """The same archive, compressed, and with a member of so many zeros."""
    with zipfile.ZipFile(path) as old:
        members = {info.filename: old.read(info) for info in old.infolist()}
    with zipfile.ZipFile(path, "w", compression) as new:
        for name, content in members.items():
            new.writestr(name, content)
        new.writestr("a/data/9", bytes(extra))


def test_an_archive_that_grows_is_refused(tmp_path):
    torch.save({"x": torch.zeros(3)}, tmp_path / "a.pth")
    rezipped(tmp_path / "a.pth", zipfile.ZIP_DEFLATED, 10**8)
    message = (
        r"must be an archive without compression, .*got one of \d+ bytes that unpack to 10000"
    )
    with pytest.raises(ValueError, match=message):
        read_pth(tmp_path / "a.pth")


def test_a_storage_that_claims_more_than_its_record_is_refused(tmp_path):
    path = tmp_path / "a.pth"
    torch.save({"x": torch.zeros(70_000)}, path)  # its number is four bytes in the pickle
    told = path.read_bytes().replace((70_000).to_bytes(4, "little"), (10**9).to_bytes(4, "little"))
    path.write_bytes(told)
    with pytest.raises(ValueError, match=r"is damaged|stored whole"):
        check_weights(path, read_pth(path))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"PK\x03\x04" + bytes(99), b"\x80\x02."])
def test_what_torch_never_wrote_is_refused(content, tmp_path):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.pth' is damaged, or no file that torch\.save wrote"):
        read_pth(tmp_path / "a.pth")


def test_names_that_a_newer_pickle_builds_are_refused(tmp_path):
    torch.save({"x": Blob()}, tmp_path / "a.pth", pickle_protocol=4)
    with pytest.raises(ValueError, match=r"must be pickled with protocol 2"):
        read_pth(tmp_path / "a.pth")


def test_a_device_is_no_file():
    with pytest.raises(ValueError, match="'/dev/zero' must be a file"):
        read_weights(Path("/dev/zero"), {}, "x")


SHAPES = {
    "a vector": (torch.zeros(8), r"'model\.0\.weight' must have shape \(width, inputs, 4, 4\)"),
    "nothing": (torch.zeros(0, 3, 4, 4), "at most 4096 of both, got"),
    "a million": (torch.zeros(10**6, 3, 0, 4), "at most 4096 of both, got"),
    "wide": (torch.zeros(4096, 3, 4, 4), "mixes networks of several widths"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_first_layer_of_no_network_is_refused_before_one_is_built(name, tmp_path):
    tensor, message = SHAPES[name]
    state = PatchDiscriminator(width=2).state_dict() | {"model.0.weight": tensor}
    torch.save(state, tmp_path / "d.pth")
    with pytest.raises(ValueError, match=message):
        load_reference_discriminator(tmp_path / "d.pth")


def test_many_names_make_no_deep_network(tmp_path):
    torch.save({f"{n}.model.1.weight": torch.zeros(1) for n in range(3000)}, tmp_path / "g.pth")
    for load in (load_reference_checkpoint, load_reference_discriminator):
        with pytest.raises(ValueError, match=r"'0\.model\.1\.weight' is unexpected"):
            load(tmp_path / "g.pth")


CODE = """
import resource, sys, torch
from opmask.checkpoints import load_reference_checkpoint
resource.setrlimit(resource.RLIMIT_DATA, (1 << 31, 1 << 31))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    try:
        load_reference_checkpoint(path)
    except ValueError as error:
        print(path, error)
    else:
        print("loaded", path)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_bombs_are_refused_in_little_memory(tmp_path):
    paths = [tmp_path / f"{n}.pth" for n in range(3)]
    torch.save({"params": {"model.model.0.weight": torch.zeros(1).expand(10**5, 10**5)}}, paths[0])
    torch.save({"params": Blob()}, paths[1])
    torch.save({"params": {}}, paths[2])
    rezipped(paths[2], zipfile.ZIP_DEFLATED, 4 * 10**8)
    command = [sys.executable, "-c", CODE, *map(str, paths)]
    *errors, grown = subprocess.run(
        command, capture_output=True, text=True, check=True
    ).stdout.split("\n")[:-1]
    assert len(errors) == 3
    assert all(re.match(rf"{path} ", error) for path, error in zip(paths, errors, strict=True))
    assert int(grown) < 100_000  # kilobytes
