"""Explains the counts of a conversion: why frames are left out, and the option that keeps them."""

from collections.abc import Iterator, Mapping

from framecast.clips.convert import frame_times, windowing
from framecast.clips.convert.sources import grids, video
from framecast.clips.convert.sources.examples import sequence_examples

_HINTS = {
    "gaps": "clips end there, because frames are missing or the rate changes; a lower --fps bridges short ones",
    windowing.NO_CLIP: "parts shorter than MIN of --frames, or skipped by --stride; lower MIN to keep them",
    frame_times.NOT_WANTED: "another frame is nearer; omit --fps to keep them",
    frame_times.TOO_SLOW: "lower --fps to keep them",
    frame_times.REPEATED: "lower --fps to repeat none",
    frame_times.EVENED: "clips have even times; all frames are kept",
    video.HIDDEN: "--keep-hidden keeps them",
    video.DEPENDENT: "they show traces of the damage; a whole copy of the file keeps them",
    video.NOT_LATER: "new times keep them, such as by `ffmpeg -i IN -vf setpts=N/25/TB OUT` for 25 frames per second",
    video.RESTARTED: "all frames are kept; clips end where times start again",
    video.NO_KEYFRAME: "they cannot be decoded; cut videos at keyframes",
    sequence_examples.SPACED: "timestamps in microseconds would be used",
    "values beyond the range": "stored as the lowest or largest pixel; a wider --range keeps them",
    "values moved off the pixel for missing": "one pixel value off; another --missing keeps them",
    grids.BY_MONTHS: "all frames are kept; months differ in length by more than frames of a clip may",
    "clips of little content": "lower --min-content to keep them",
}


def explain(left_out: Mapping[str, int]) -> Iterator[str]:
    """Yields a line for each count, and one with the reason and the option to change it, if there is one."""
    for name, count in left_out.items():
        yield f"{count} {name}"
        if name in _HINTS:
            yield f"  {_HINTS[name]}"
