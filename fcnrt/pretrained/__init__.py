"""The FCNs, and the classifiers they are made from, that people have published: by name, fetched once, checked.

>>> from fcnrt import pretrained
>>> pretrained.find("fcn_resnet50_coco").size
141567418
>>> path = pretrained.pull("fcn_resnet50_coco")  # doctest: +SKIP

Nothing here is part of the package but the names: the files come from their publishers, under their licences.
"""

from __future__ import annotations

from fcnrt.pretrained.cache import cache_dir
from fcnrt.pretrained.entry import Digest, Pretrained, Score
from fcnrt.pretrained.progress import progress_bar
from fcnrt.pretrained.registry import REGISTRY, find, is_name
from fcnrt.pretrained.store import local_path, pull

__all__ = [
    "REGISTRY",
    "Digest",
    "Pretrained",
    "Score",
    "cache_dir",
    "find",
    "is_name",
    "local_path",
    "progress_bar",
    "pull",
]
