"""Small clips, made with PyAV."""

from fractions import Fraction

import av
import numpy as np

TIMES = (0, 40, 100, 300, 320, 360)  # milliseconds, at no steady rate


def make_clip(
    path,
    *,
    times=TIMES,
    size=(48, 64),
    pixels="yuv420p",
    codec="libx264",
    sound=True,
    matrix=1,
    limits=1,
    transfer=1,
    turn=0,
    draw=None,
):
    """Writes a clip whose frames are a colour that gets greener, with a blue corner."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25, options={"crf": "4"})
        stream.height, stream.width, stream.pix_fmt = *size, pixels
        context = stream.codec_context
        context.time_base, context.colorspace = Fraction(1, 1000), matrix
        context.color_range, context.color_trc, context.color_primaries = limits, transfer, 1
        if turn:
            stream.set_display_rotation(turn)
        tone = out.add_stream("aac", rate=48000, layout="mono") if sound else None
        out.metadata["title"] = "A clip"
        for i, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(
                (draw or picture)(i, size), format="rgb24"
            ).reformat(
                format=pixels, dst_colorspace=matrix, src_color_range=2, dst_color_range=limits
            )
            frame.pts, frame.time_base, frame.duration = time, Fraction(1, 1000), 40
            out.mux(stream.encode(frame))
        if times:
            out.mux(stream.encode(None))
        if tone:
            add_tone(out, tone)
    return path


def picture(i, size=(48, 64)):
    pixels = np.full((*size, 3), (200, 10 * i, 60), np.uint8)
    pixels[:16, :16] = 30, 60, 220
    return pixels


def add_tone(out, stream):
    wave = np.sin(np.arange(1024) / 9)[None].astype(np.float32)
    for i in range(15):
        frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
        frame.rate, frame.pts = 48000, 1024 * i
        out.mux(stream.encode(frame))
    out.mux(stream.encode(None))


def packets(path, kind):
    """What the packets of a stream hold."""
    with av.open(str(path)) as clip:
        return [bytes(packet) for packet in clip.demux(**{kind: 0}) if packet.size]


def times_of(path):
    with av.open(str(path)) as clip:
        return [round(1000 * float(frame.time)) for frame in clip.decode(video=0)]
