"""Converts test sources, and reads the clips back."""

from framecast.clips.codec import decode_frames
from framecast.clips.convert.pipeline import convert
from framecast.clips.convert.spec import ConvertSpec
from framecast.clips.records import read_records
from framecast.clips.validation import check_clip
from framecast.schemas.clip_spec import ClipSpec


def converted_clips(source, to, *, skip_bad=False, **spec):
    """Returns the manifest, and the recording's name, pixels and timestamps of each clip."""
    manifest = convert([str(source)], to, ConvertSpec.model_validate(spec), skip_bad=skip_bad)
    contract = ClipSpec.model_validate(manifest["clip"])
    clips = []
    for path in sorted(to.glob("*.tfrecord.gz")):
        for _, record in read_records(path):
            example = check_clip(record, contract)
            stamps = example.feature_lists.feature_list["image/timestamp"].feature
            name = example.context.feature["clip/media_id"].bytes_list.value[0].decode()
            name = name.partition("@")[0].partition("/")[2]
            times = [stamp.int64_list.value[0] for stamp in stamps]
            clips.append((name, decode_frames(example, contract), times))
    return manifest, clips
