from __future__ import annotations

from dataclasses import replace

import pytest

from fcnrt.errors import CheckpointError, InputError
from fcnrt.palettes import voc_palette
from fcnrt.preprocessing import PRESETS
from fcnrt.spec import ModelSpec

SPEC = ModelSpec("fcn8s", 3, ("sky", "sea", "Ümläut"), voc_palette(3), PRESETS["imagenet"], {"width": 0.3, "aux": True})


def test_metadata_round_trip() -> None:
    metadata = SPEC.to_metadata()
    assert all(isinstance(value, str) for value in metadata.values())
    assert metadata["format"] == "pt" and metadata["fcnrt_format"] == "1"
    read = ModelSpec.from_metadata(metadata)
    assert read == SPEC
    assert set(read.sources.values()) == {"file metadata"}
    assert set(read.sources) == {"arch", "num_classes", "classes", "palette", "normalization", "width", "aux"}


def test_heads_round_trip() -> None:
    spec = replace(SPEC, heads={"sem": SPEC.classes, "geo": ("flat", "steep")})
    assert ModelSpec.from_metadata(spec.to_metadata()) == spec


def test_width_is_an_option() -> None:
    assert SPEC.width == 0.3
    assert replace(SPEC, options={}).width == 1.0


def test_sources_do_not_make_specs_differ() -> None:
    assert replace(SPEC, sources={"arch": "argument"}) == SPEC


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fcnrt_format": "2"}, "fcnrt_format '2'; this version of fcnrt reads '1'. Update fcnrt"),
        ({"num_classes": "many"}, "broken metadata: invalid literal"),
        ({"num_classes": "4"}, "classes has 3 entries for 4 classes; expected one per class"),
        ({"num_classes": "0"}, "expected a whole number of at least 1"),
        ({"classes": '["a", "b", 3]'}, "class names must be strings"),
        ({"classes": '{"a": 1}'}, "classes must be a JSON list"),
        ({"classes": "["}, "broken metadata"),
        ({"classes": "[" * 100_000}, "broken metadata"),
        ({"palette": "[[0, 0, 0], [0, 0, 0], [0, 0, 256]]"}, r"three whole numbers \(R, G, B\) in 0..255"),
        ({"palette": "[1, 2, 3]"}, "broken metadata"),
        ({"options": '{"width": NaN}'}, "option 'width' is nan; expected a number between"),
        ({"options": '{"width": 1e400}'}, "option 'width' is inf; expected a number between"),
        ({"options": '{"width": 0}'}, "width is 0; expected a positive number"),
        ({"options": '{"width": true}'}, "width is True; expected a positive number"),
        ({"options": '{"depth": [50]}'}, r"option 'depth' is \[50\]; expected a number, a string, true"),
        ({"options": "[]"}, "options must be a JSON object"),
        ({"heads": '{"sem": ["a", "b", "c"]}'}, "the first of the heads sem has other names than classes"),
        ({"heads": '{"sem": 3}'}, "broken metadata"),
        ({"heads": '{"sem": [3]}'}, "class names must be strings"),
        ({"arch": ""}, "expected the name of an architecture"),
        ({"normalization": "{}"}, "broken metadata: normalization must be"),
    ],
)
def test_broken_metadata_says_what_is_wrong(change: dict[str, str], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        ModelSpec.from_metadata(SPEC.to_metadata() | change)


def test_incomplete_metadata_names_what_is_missing() -> None:
    metadata = SPEC.to_metadata()
    del metadata["palette"], metadata["options"]
    with pytest.raises(CheckpointError, match="metadata lacks palette, options"):
        ModelSpec.from_metadata(metadata)


def test_options_are_named() -> None:
    with pytest.raises(InputError, match=r"options is 0\.5; expected names and their values"):
        replace(SPEC, options=0.5)  # type: ignore[arg-type]


def test_lengths_must_agree() -> None:
    with pytest.raises(InputError, match="palette has 2 entries for 3 classes"):
        replace(SPEC, palette=voc_palette(2))
