r"""Clips in and out, a frame at a time: colours, times, sound and what else the file says.

Frames become RGB by the matrix and range of their file, upright, and go back by the same. Sound
is copied as it is.

Data flow: `file -> open_clip -> Clip -> frames -> ... -> frames -> write_clip -> file`.
"""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from opmask.files.reading import LONGEST_NAME, shorten, why_unreadable
from opmask.files.writing import replacing

__all__ = ["SUFFIXES", "Clip", "check_clip_output", "open_clip", "write_clip"]

# As good as it gets at sizes that people accept: what was not changed should stay.
_CODECS = {
    "libx264": {"crf": "16", "preset": "medium"},
    "libx265": {"crf": "16", "preset": "medium", "x265-params": "log-level=error"},
    "libvpx-vp9": {"crf": "18", "b": "0", "row-mt": "1", "deadline": "good", "cpu-used": "2"},
}

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm")
"""The endings of clips that are written."""

_HDR = {16: "PQ", 18: "HLG"}
"""Transfer functions of more light than sRGB has, by their numbers in ITU-T H.273."""

_ADVICE = (
    "Clips need PyAV 18 and Python 3.11 or newer, {}. Run: pip install --upgrade 'opmask[video]'"
)

_LIMITED, _FULL = 1, 2
_BT709, _BT601, _UNSPECIFIED = 1, 5, 2


@dataclass(frozen=True)
class _Stamp:
    """When a frame is shown, and for how long, in units of the stream's time base."""

    start: int
    length: int


@dataclass(eq=False)
class Clip:
    r"""A clip that is open for reading; :func:`open_clip` makes one.

    Attributes:
        path: The file.
        size: Height and width of its upright frames, in pixels.
        count: How many frames the file claims to have; 0 if it does not say.
        remarks: What reading had to decide, a sentence each. Complete after the last frame.
    """

    path: Path
    container: Any
    size: tuple[int, int]
    turns: int
    first: Any
    count: int
    remarks: list[str] = field(default_factory=list)
    stamps: deque[_Stamp] = field(default_factory=deque)

    @property
    def stream(self) -> Any:  # noqa: ANN401
        """The video stream."""
        return self.container.streams.video[0]

    @property
    def bits(self) -> int:
        """The bits of a channel, 8 or more."""
        return max(c.bits for c in self.first.format.components)

    def frames(self) -> Iterator[np.ndarray]:
        r"""Decodes the frames, once.

        A clip that is cut off or damaged gives the frames that can be decoded, and a remark.

        Yields:
            RGB, upright, with shape :math:`(H, W, 3)`: ``uint8``, or ``uint16`` of a clip with
            more than 8 bits a channel.

        Raises:
            ValueError: If frames differ in size.
        """
        found = 0
        for frame in _decoded(self):
            if (frame.width, frame.height) != (self.first.width, self.first.height):
                raise ValueError(f"{self.path} must have frames of one size, got several.")
            found += 1
            self.stamps.append(self._stamp(frame, found - 1))
            pixels = _to_rgb(frame, "rgb48le" if self.bits > 8 else "rgb24")
            yield np.ascontiguousarray(np.rot90(pixels, self.turns))
        if self.count > found:
            self.remarks.append(
                f"The clip is cut off or damaged: {found} of its {self.count} frames were read."
            )

    def _stamp(self, frame: Any, index: int) -> _Stamp:  # noqa: ANN401
        rate = self.stream.average_rate or Fraction(25)
        length = frame.duration or round(1 / (rate * self.stream.time_base))
        return _Stamp(frame.pts if frame.pts is not None else index * length, length)


@contextmanager
def open_clip(path: str | Path) -> Iterator[Clip]:
    r"""Opens a clip and decodes its first frame, so that what cannot be used is refused early.

    Args:
        path: The file, of any format and codec that FFmpeg reads.

    Yields:
        The clip.

    Raises:
        ImportError: If PyAV is not installed.
        ValueError: If the file is missing, no clip, has no video or no frames, or is HDR (PQ or
            HLG), whose colours are not those of a photo.
    """
    av = import_av()
    name = shorten(path, LONGEST_NAME)
    if why := why_unreadable(path):
        raise ValueError(f"{name} cannot be read: {why}.")
    try:
        container = _open(path)
    except (av.FFmpegError, OSError) as error:
        raise ValueError(f"{name} cannot be read: it is no clip, or damaged ({error}).") from error
    with container:
        yield _opened(Path(path), name, container)


def _open(path: str | Path) -> Any:  # noqa: ANN401
    """A file to read, whose texts may hold bytes that are no letters."""
    av = import_av()
    older = (
        int(av.__version__.split(".")[0]) < 19
    )  # later versions replace such bytes by themselves
    return av.open(str(path), **({"metadata_errors": "replace"} if older else {}))


def _opened(path: Path, name: str, container: Any) -> Clip:  # noqa: ANN401
    if not container.streams.video:
        raise ValueError(f"{name} must have a video stream, got none.")
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    clip = Clip(path, container, (0, 0), 0, None, stream.frames)
    first = next(_decoded(clip), None)
    if first is None:
        raise ValueError(f"{name} must have frames, got a clip without any that can be decoded.")
    if kind := _HDR.get(int(stream.codec_context.color_trc)):
        raise ValueError(
            f"{name} must be of standard dynamic range, got HDR ({kind}). Convert it to BT.709 "
            "first."
        )
    container.seek(0)
    clip.remarks.clear()
    clip.first, clip.turns = first, round(first.rotation / 90) % 4
    clip.size = (first.height, first.width) if clip.turns % 2 == 0 else (first.width, first.height)
    clip.remarks += _losses(clip)
    return clip


def _losses(clip: Clip) -> list[str]:
    said = []
    if len(clip.container.streams.video) > 1:
        said.append("The first of several video streams is used.")
    if any(c.is_alpha for c in clip.first.format.components):
        said.append("Alpha is left out.")
    if clip.first.interlaced_frame:
        said.append("Interlaced frames are retouched and written as whole ones.")
    return said


def _decoded(clip: Clip) -> Iterator[Any]:
    """All frames that can be decoded."""
    av = import_av()
    packets = clip.container.demux(clip.stream)
    broken = 0
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.FFmpegError):  # the latter at the end of a file that is cut off
            break
        try:
            yield from packet.decode()
        except av.FFmpegError:
            broken += 1
    if broken:
        clip.remarks.append(f"{broken} damaged pieces of the clip were skipped.")


def check_clip_output(clip: Clip, path: str | Path) -> list[str]:
    r"""Refuses, before any work, a file that could not hold a clip.

    Args:
        clip: The clip.
        path: The file to write.

    Returns:
        A sentence for each thing that will be left out.

    Raises:
        ValueError: If its ending is none of :data:`SUFFIXES`, or its format cannot hold the sound.
    """
    av, suffix = import_av(), Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"'path' must end in one of {', '.join(SUFFIXES)}, got {path}.")
    holds = av.ContainerFormat(_format(suffix), "w")
    supported = _supported(holds.name)
    for sound in clip.container.streams.audio:
        codec = sound.codec_context.name
        if supported is not None and sound.codec_context.codec.canonical_name not in supported:
            raise ValueError(
                f"'path' must be of a format that holds {codec} sound, got {path}. Try .mkv."
            )
    left = {s.type for s in clip.container.streams} - {"video", "audio"}
    said = [f"Streams of {' and '.join(sorted(left))} are left out."] if left else []
    codec, pixel_format = _encoding(clip, suffix)
    if clip.bits > _bits(pixel_format):
        said.append(f"{clip.bits} bits a channel become {_bits(pixel_format)}, as {codec} "
                    "holds no more here.")  # fmt: skip
    return said


def write_clip(clip: Clip, frames: Iterable[np.ndarray], path: str | Path) -> int:
    r"""Writes frames with the times, sound, colours and metadata of a clip, whole or not at all.

    Video becomes H.264, H.265 where there are more than 8 bits, or VP9 in a WebM file, with a
    quality at which losses are hard to see. Subsampling of colour stays where the codec has it;
    odd sizes, which H.264 cannot hold with subsampled colour, get colour at full size.

    Args:
        clip: The open clip that the frames were read from.
        frames: As many as :meth:`Clip.frames` yields, in its order, retouched. They may lag.
        path: The file.

    Returns:
        How many frames were written.

    Raises:
        ValueError: As for :func:`check_clip_output`, or if there are no frames.
        OSError: If the file cannot be written.
    """
    av, suffix = import_av(), Path(path).suffix.lower()
    check_clip_output(clip, path)
    with (
        replacing(path) as temporary,
        _open(clip.path) as sounds,
        av.open(str(temporary), "w", format=_format(suffix)) as out,
    ):
        out.metadata.update(_metadata(clip.container))
        out.set_chapters(clip.container.chapters())
        stream = _add_video(out, clip, suffix)
        sound = _Sound(out, sounds)
        count = 0
        for pixels in frames:
            count += 1
            stamp = clip.stamps.popleft()
            frame = _from_rgb(pixels, clip, stream.codec_context.pix_fmt)
            frame.pts, frame.time_base = stamp.start, clip.stream.time_base
            frame.duration = stamp.length
            out.mux(stream.encode(frame))
            sound.copy_until(float(stamp.start * clip.stream.time_base))
        if not count:
            raise ValueError(f"{clip.path} must have frames, got none.")
        out.mux(stream.encode(None))
        sound.copy_until(float("inf"))
    return count


def _metadata(container: Any) -> dict[str, str]:  # noqa: ANN401
    """What a file says of itself, but for what only holds for its own format."""
    own = ("major_brand", "minor_version", "compatible_brands", "encoder")
    return {key: text for key, text in container.metadata.items() if key.lower() not in own}


class _Sound:
    """Copies the sound of a clip as it is, up to the time that the pictures have come to."""

    def __init__(self, out: Any, source: Any) -> None:  # noqa: ANN401
        self.out, self.streams, self.next = out, {}, None
        for stream in source.streams.audio:
            self.streams[stream] = out.add_stream_from_template(stream)
            self.streams[stream].metadata.update(stream.metadata)
        self.packets = source.demux(*self.streams) if self.streams else iter(())

    def copy_until(self, seconds: float) -> None:
        error = import_av().FFmpegError
        while True:
            try:
                packet = self.next or next(self.packets)
            except (StopIteration, error):  # the latter at the end of a file that is cut off
                return
            self.next = packet
            if packet.dts is not None:
                if float(packet.dts * packet.time_base) > seconds:
                    return
                packet.stream = self.streams[packet.stream]
                self.out.mux(packet)
            self.next = None


def _add_video(out: Any, clip: Clip, suffix: str) -> Any:  # noqa: ANN401
    codec, pixel_format = _encoding(clip, suffix)
    source, first = clip.stream, clip.first
    stream = out.add_stream(codec, rate=source.average_rate or 25, options=dict(_CODECS[codec]))
    stream.height, stream.width = clip.size
    stream.pix_fmt = pixel_format
    stream.metadata.update({k: v for k, v in source.metadata.items() if k != "rotate"})
    context = stream.codec_context
    context.time_base = source.time_base
    context.color_range = _range(first)
    context.colorspace = _matrix(first)
    context.color_primaries = source.codec_context.color_primaries
    context.color_trc = source.codec_context.color_trc
    if ratio := source.sample_aspect_ratio:
        context.sample_aspect_ratio = 1 / ratio if clip.turns % 2 else ratio
    if codec == "libx265" and suffix != ".mkv":
        context.codec_tag = "hvc1"  # without which players of Apple show nothing
    return stream


def _encoding(clip: Clip, suffix: str) -> tuple[str, str]:
    """The encoder and its pixel format."""
    deep, name = clip.bits > 8, clip.first.format.name
    codec = "libvpx-vp9" if suffix == ".webm" else "libx265" if deep else "libx264"
    chroma = "444" if "444" in name or clip.first.format.is_rgb else (
        "422" if "422" in name else "420"
    )  # fmt: skip
    if codec != "libvpx-vp9" and any(side % 2 for side in clip.size):
        chroma = "444"
    if chroma == "422" and clip.turns % 2:
        chroma = "444"
    ending = "10le" if codec == "libx265" else ""
    return codec, f"yuv{chroma}p{ending}"


def _to_rgb(frame: Any, kind: str) -> np.ndarray:  # noqa: ANN401
    if frame.format.is_rgb:
        return frame.to_ndarray(format=kind)
    rgb = frame.reformat(
        format=kind,
        src_colorspace=_matrix(frame),
        src_color_range=_range(frame),
        dst_color_range=_FULL,
        interpolation=_accurate(),
    )
    return rgb.to_ndarray()


def _from_rgb(pixels: np.ndarray, clip: Clip, pixel_format: str) -> Any:  # noqa: ANN401
    kind = "rgb48le" if pixels.dtype == np.uint16 else "rgb24"
    frame = import_av().VideoFrame.from_ndarray(pixels, format=kind)
    frame = frame.reformat(
        format=pixel_format,
        src_color_range=_FULL,
        dst_colorspace=_matrix(clip.first),
        dst_color_range=_range(clip.first),
        interpolation=_accurate(),
    )
    frame.colorspace, frame.color_range = _matrix(clip.first), _range(clip.first)
    return frame


def _accurate() -> Any:  # noqa: ANN401
    # Without these flags 4:2:0 gets darker by 1.3 levels of 255 each time it is read and written.
    kind = importlib.import_module("av.video.reformatter").Interpolation
    return kind.BICUBIC | kind.ACCURATE_RND | kind.FULL_CHR_H_INT | kind.FULL_CHR_H_INP


def _matrix(frame: Any) -> int:  # noqa: ANN401
    """The matrix; where the file does not say, that of its size, as players have it."""
    said = int(frame.colorspace)
    if said in (0, _UNSPECIFIED):  # 0 is RGB, which has none of its own
        return _BT709 if min(frame.height, frame.width) >= 720 else _BT601
    return said


def _range(frame: Any) -> int:  # noqa: ANN401
    full = frame.format.name.startswith("yuvj") or int(frame.color_range) == _FULL
    return _FULL if full else _LIMITED


def _bits(pixel_format: str) -> int:
    return 10 if pixel_format.endswith("10le") else 8


def _format(suffix: str) -> str:
    return {".mkv": "matroska", ".webm": "webm", ".mov": "mov"}.get(suffix, "mp4")


def _supported(container: str) -> set[str] | None:
    """The codecs that a format holds."""
    import io

    with import_av().open(io.BytesIO(), "w", format=container) as trial:
        return set(trial.supported_codecs)


def import_av() -> Any:  # noqa: ANN401
    """PyAV, which reads and writes clips.

    Raises:
        ImportError: If it is not installed, or too old to round colours right.
    """
    try:
        av = importlib.import_module("av")
    except ImportError as error:
        raise ImportError(_ADVICE.format("which is not installed")) from error
    if int(av.__version__.split(".")[0]) < 18:
        raise ImportError(_ADVICE.format(f"got {av.__version__}"))
    return av
