"""The constant halo: which entries of a feature map depend on the image, and which are the same for every image.

A net that pads its image by 100 pixels computes on a canvas of which the image is a part. An entry whose receptive
field lies in the padding has a value that depends on the weights and on the size alone. Only the others need be
computed for each image. Everything is said for one axis; rows and columns are alike, and the entries that depend on
the image are the rectangle of both axes' intervals.

*The rule.* A convolution or pool with kernel ``k``, stride ``s``, padding ``p`` and dilation ``d`` makes entry ``o`` of
the entries ``s * o - p + d * t`` of its source, ``t = 0 … k - 1``. So ``o`` reads some entry of ``[a, b)`` only if
``s * o - p + d * (k - 1) >= a`` and ``s * o - p < b``:

    first = ceil((a + p - d * (k - 1)) / s)        last = floor((b - 1 + p) / s)

cut to the entries that there are. A map that is made of several depends on the image where any of them does; their
hull is an interval again. For dilated kernels the bound is not tight, and still right: a few constants are computed.

*The ring.* To compute the interval ``[first, last]``, a reader needs ``[s * first - p, s * last - p + d * (k - 1)]`` of
its source: more than the source's own interval. So each map is kept as the rectangle that is computed for the image,
and a ring of constants around it as wide as its readers want, per side. Beyond the map's own end the ring is the
zeros of the readers' padding.

*Where the constants are uniform.* In the zero image all entries of a map are alike, except those near enough to the
canvas's end for its padding to be seen. The padding around the image is made of zeros too, so it does not count. An
entry is alike if all that it reads is there and alike.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """Entries ``begin`` to ``end - 1``; empty if ``end <= begin``."""

    begin: int
    end: int

    def __len__(self) -> int:
        return max(0, self.end - self.begin)

    def __contains__(self, other: Interval) -> bool:
        return not other or (self.begin <= other.begin and other.end <= self.end)

    def hull(self, other: Interval) -> Interval:
        """The shortest interval that has all of both."""
        if not self or not other:
            return self or other
        return Interval(min(self.begin, other.begin), max(self.end, other.end))

    def cut(self, other: Interval) -> Interval:
        """What both have."""
        return Interval(max(self.begin, other.begin), min(self.end, other.end))


EMPTY = Interval(0, 0)


@dataclass(frozen=True)
class Sliding:
    """A window that slides along one axis: that of a convolution or a pool. The default reads what it writes."""

    kernel: int = 1
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    ceil: bool = False
    """the last window may reach beyond the padding, if it begins before it ends"""

    @property
    def reach(self) -> int:
        """From a window's first entry to its last."""
        return self.dilation * (self.kernel - 1)

    def length(self, source: int) -> int:
        """Entries that are made of ``source`` entries; under one if there is not one whole window."""
        room = source + 2 * self.padding - self.reach - 1
        length = (room + (self.stride - 1 if self.ceil else 0)) // self.stride + 1
        # As in Caffe and torch: a window that would begin in the padding behind the map is left out.
        if self.ceil and (length - 1) * self.stride >= source + self.padding:
            length -= 1
        return length

    def depending(self, source: Interval, length: int) -> Interval:
        """The entries, of ``length``, that read one of ``source``."""
        if not source:
            return EMPTY
        first = -((self.reach - self.padding - source.begin) // self.stride)
        last = (source.end - 1 + self.padding) // self.stride
        return Interval(first, last + 1).cut(Interval(0, length))

    def reading(self, entries: Interval) -> Interval:
        """The source's entries that ``entries`` are made of, those before and behind the source included."""
        if not entries:
            return EMPTY
        begin = entries.begin * self.stride - self.padding
        return Interval(begin, (entries.end - 1) * self.stride - self.padding + self.reach + 1)

    def made_of(self, source: Interval, length: int) -> Interval:
        """The entries, of ``length``, that read nothing but ``source``."""
        first = -((-source.begin - self.padding) // self.stride)
        last = (source.end - 1 + self.padding - self.reach) // self.stride
        return Interval(first, last + 1).cut(Interval(0, length))


@dataclass(frozen=True)
class Extension:
    """The first and the last entry of an axis, repeated ``before`` and behind it; asked as a :class:`Sliding` is."""

    before: int
    behind: int

    def length(self, source: int) -> int:
        """Entries that are made of ``source`` entries."""
        return self.before + source + self.behind

    def depending(self, source: Interval, length: int) -> Interval:
        """The entries, of ``length``, that repeat or are one of ``source``."""
        if not source:
            return EMPTY
        begin = source.begin + self.before if source.begin > 0 else 0
        whole = source.end + self.before + self.behind >= length
        return Interval(begin, length if whole else source.end + self.before)

    def reading(self, entries: Interval) -> Interval:
        """The source's entries that ``entries`` repeat or are, and more where its length would have to be known."""
        if not entries:
            return EMPTY
        return Interval(max(0, entries.begin - self.before - self.behind), max(1, entries.end - self.before))

    def made_of(self, source: Interval, length: int) -> Interval:
        """None: nothing is said of them."""
        return EMPTY
