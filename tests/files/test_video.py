import numpy as np
import pytest

from opmask.files.video import check_clip_output, import_av, open_clip, write_clip

av = pytest.importorskip("av", "18")  # there is none for Python 3.10
from clips import TIMES, make_clip, packets, picture, times_of  # noqa: E402


@pytest.fixture
def clip(tmp_path):
    return make_clip(tmp_path / "clip.mp4")


def copy(source, out):
    """Writes a clip with the frames it has, and says what was remarked."""
    with open_clip(source) as clip:
        write_clip(clip, clip.frames(), out)
        return clip.remarks


def frames_of(path):
    with open_clip(path) as clip:
        return list(clip.frames())


def error(found, wanted):
    return max(np.abs(a - np.float32(b)).mean() for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize("matrix", [1, 5])  # BT.709 and BT.601
@pytest.mark.parametrize("limits", [1, 2])  # limited and full range
def test_colours_are_read_by_the_matrix_and_the_range_of_the_file(tmp_path, matrix, limits):
    path = make_clip(tmp_path / "clip.mkv", matrix=matrix, limits=limits, pixels="yuv444p")
    assert error(frames_of(path), map(picture, range(6))) < 1.5


@pytest.mark.parametrize("matrix", [1, 5])
@pytest.mark.parametrize("limits", [1, 2])
def test_colours_are_written_as_they_were_read(tmp_path, matrix, limits):
    path = make_clip(tmp_path / "clip.mp4", matrix=matrix, limits=limits)
    copy(path, tmp_path / "out.mp4")
    assert error(frames_of(tmp_path / "out.mp4"), frames_of(path)) < 1.5
    with av.open(str(tmp_path / "out.mp4")) as out:
        context = out.streams.video[0].codec_context
        assert (context.colorspace, context.color_range) == (matrix, limits)
        assert (context.color_trc, context.color_primaries) == (1, 1)


def test_without_a_matrix_it_is_that_of_the_size(tmp_path):
    small = make_clip(tmp_path / "small.mkv", matrix=5, pixels="yuv444p")
    unsaid = make_clip(tmp_path / "unsaid.mkv", matrix=2, pixels="yuv444p")
    assert error(frames_of(unsaid), frames_of(small)) < 1.5


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_times_sound_and_metadata_are_kept(clip, tmp_path, suffix):
    out = tmp_path / f"out{suffix}"
    assert copy(clip, out) == []
    times = times_of(out)
    assert [time - times[0] for time in times] == list(TIMES)
    assert packets(out, "audio") == packets(clip, "audio")
    with av.open(str(out)) as written:
        assert written.metadata["title"] == "A clip"


@pytest.mark.parametrize("size", [(49, 64), (48, 65), (51, 67)])
def test_odd_sizes_stay(tmp_path, size):
    path = make_clip(tmp_path / "clip.mkv", size=size, pixels="yuv444p", sound=False)
    copy(path, tmp_path / "out.mp4")
    copy(path, tmp_path / "out.webm")
    for name in "out.mp4", "out.webm":
        assert frames_of(tmp_path / name)[0].shape == (*size, 3)


def test_a_turned_clip_comes_upright(tmp_path):
    path = make_clip(tmp_path / "clip.mp4", turn=-90, matrix=5)  # as phones held upright write
    copy(path, tmp_path / "out.mp4")
    upright = [np.rot90(picture(i), -1) for i in range(6)]
    assert error(frames_of(path), upright) < 6
    assert error(frames_of(tmp_path / "out.mp4"), frames_of(path)) < 1.5


def test_ten_bits_stay_ten_bits(tmp_path):
    path = make_clip(tmp_path / "clip.mkv", pixels="yuv444p10le", codec="ffv1", sound=False)
    copy(path, tmp_path / "out.mp4")
    found = frames_of(tmp_path / "out.mp4")
    assert found[0].dtype == np.uint16
    assert error([frame / 257 for frame in found], map(picture, range(6))) < 2
    with open_clip(path) as clip:
        said = check_clip_output(clip, "out.webm")
    assert said == ["10 bits a channel become 8, as libvpx-vp9 holds no more here."]


def test_of_a_clip_that_is_cut_off_the_frames_that_are_there_are_read(tmp_path):
    path = make_clip(tmp_path / "clip.mkv", times=range(0, 4000, 40), size=(96, 128), sound=False)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert 0 < len(frames_of(path)) < 100


def test_where_frames_are_missing_it_is_said(clip):
    with open_clip(clip) as opened:
        opened.count = 8
        list(opened.frames())
        [said] = opened.remarks
    assert said == "The clip is cut off or damaged: 6 of its 8 frames were read."


def test_a_clip_without_frames_is_refused(tmp_path):
    empty = make_clip(tmp_path / "empty.mkv", times=())
    with pytest.raises(ValueError, match=r"empty.mkv must have frames, got a clip without any"):
        open_clip(empty).__enter__()


def test_a_clip_without_video_is_refused(tmp_path):
    with av.open(str(tmp_path / "sound.wav"), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 999), np.int16), "s16", "mono")
        frame.rate = 48000
        out.mux(stream.encode(frame))
    with pytest.raises(ValueError, match=r"sound.wav must have a video stream, got none\."):
        open_clip(tmp_path / "sound.wav").__enter__()


@pytest.mark.parametrize(("transfer", "kind"), [(16, "PQ"), (18, "HLG")])
def test_hdr_is_refused(tmp_path, transfer, kind):
    path = make_clip(tmp_path / "hdr.mkv", transfer=transfer, sound=False)
    with pytest.raises(ValueError, match=rf"hdr.mkv must be of .* got HDR \({kind}\)"):
        open_clip(path).__enter__()


def test_what_is_no_clip_is_refused(tmp_path):
    (tmp_path / "text.mp4").write_text("not a clip")
    with pytest.raises(ValueError, match=r"text.mp4 cannot be read: it is no clip, or damaged"):
        open_clip(tmp_path / "text.mp4").__enter__()
    with pytest.raises(ValueError, match=r"gone.mp4 cannot be read: there is no such file"):
        open_clip(tmp_path / "gone.mp4").__enter__()


def test_outputs_that_cannot_hold_the_clip_are_refused(clip):
    with open_clip(clip) as opened:
        with pytest.raises(ValueError, match=r"must end in one of .mp4, .*, got out.gif"):
            check_clip_output(opened, "out.gif")
        with pytest.raises(ValueError, match=r"holds aac sound, got out.webm. Try .mkv"):
            check_clip_output(opened, "out.webm")


def test_what_fails_leaves_nothing_behind(clip, tmp_path):
    def fail(frames):
        yield next(frames)
        raise KeyboardInterrupt

    with open_clip(clip) as opened, pytest.raises(KeyboardInterrupt):
        write_clip(opened, fail(opened.frames()), tmp_path / "out.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_frames_of_another_size_are_no_clip_of_one_size(clip):
    with open_clip(clip) as opened:
        opened.first = av.VideoFrame(32, 32, "yuv420p")
        with pytest.raises(ValueError, match=r"must have frames of one size, got several"):
            list(opened.frames())


def test_reading_and_writing_again_and_again_makes_nothing_darker(tmp_path):
    path = make_clip(tmp_path / "0.mp4", matrix=1)
    for i in range(3):
        copy(path, path := tmp_path / f"{i + 1}.mp4")
    shift = np.mean(frames_of(path)) - np.mean(frames_of(tmp_path / "0.mp4"))
    assert abs(shift) < 0.3


def test_an_old_pyav_is_refused(monkeypatch):
    monkeypatch.setattr(av, "__version__", "17.0.0")
    with pytest.raises(ImportError, match=r"PyAV 18 .*, got 17.0.0. Run: pip install --upgrade"):
        import_av()
