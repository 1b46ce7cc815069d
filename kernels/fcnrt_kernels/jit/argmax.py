"""The best class so far of each pixel: ties go to the lowest class, NaN wins over any number, as in torch."""

import triton
import triton.language as tl


@triton.jit
def exp_gap(value, maximum):
    """``exp(value - maximum)``, and 1 where both are the same infinity."""
    return tl.where(value == maximum, 1.0, tl.exp(value - maximum))


@triton.jit
def probability(best, total):
    """The winner's softmax probability; NaN where softmax has none, as torch gives."""
    return tl.where(tl.abs(best) == float("inf"), float("nan"), 1.0 / total)


@triton.jit
def keep_better(value, c, best, label, total, CONFIDENCE: tl.constexpr):
    """``best``, its ``label`` and the sum of exponentials ``total``, after class ``c`` with ``value``."""
    # Strictly greater: the lowest class wins a tie. NaN wins over any number, the first NaN over later ones.
    better = (value > best) | ((value != value) & (best == best))
    if CONFIDENCE:
        maximum = tl.where(better, value, best)
        total = total * exp_gap(best, maximum) + exp_gap(value, maximum)
    return tl.where(better, value, best), tl.where(better, c, label), total


@triton.jit
def keep_best_of_block(values, offs_c, num_classes, best, label, total, CONFIDENCE: tl.constexpr):
    """The same after a block of classes: ``values`` is ``[BLOCK_P, BLOCK_C]``, ``offs_c`` are the classes."""
    mask_c = (offs_c < num_classes)[None, :]
    values = tl.where(mask_c, values, float("-inf"))
    # A maximum in hardware passes over NaN: rank NaN above every number, by a value of its own.
    is_nan = values != values
    has_nan = tl.max(is_nan.to(tl.int32), axis=1) > 0
    top = tl.max(tl.where(is_nan, float("-inf"), values), axis=1)
    wins = tl.where(has_nan[:, None], is_nan, values == top[:, None])
    first = tl.min(tl.where(wins & mask_c, offs_c[None, :], num_classes), axis=1)
    top = tl.where(has_nan, float("nan"), top)

    better = (top > best) | ((top != top) & (best == best))
    if CONFIDENCE:
        maximum = tl.where(better, top, best)
        terms = tl.where(mask_c, exp_gap(values, maximum[:, None]), 0.0)
        total = total * exp_gap(best, maximum) + tl.sum(terms, axis=1)
    return tl.where(better, top, best), tl.where(better, first, label), total
