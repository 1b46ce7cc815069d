"""Coarse scores at fine positions, read from the output's side: the one piece that all decoder kernels share.

Transposed convolution: an upsampled row ``Y`` is reached by the coarse rows ``i`` with ``0 <= Y - i * STRIDE <
KERNEL``: the last of them is ``Y // STRIDE``, and there are ``cdiv(KERNEL, STRIDE)`` of them (two, when KERNEL is twice
STRIDE).
Interpolation: two coarse rows around the position that the rule gives ``Y``, or the one nearest. Columns alike.
"""

import triton
import triton.language as tl

# Where the weights of the upsampling come from; the numbers of ``launch.py``.
BILINEAR = tl.constexpr(0)  # transposed convolution: the closed form of the bilinear filter
DEPTHWISE = tl.constexpr(1)  # transposed convolution: [C, KERNEL, KERNEL], each class by itself
DENSE = tl.constexpr(2)  # transposed convolution: [C_in, C_out, KERNEL, KERNEL], every class into every class
HALF_PIXEL = tl.constexpr(3)  # interpolation between pixel centres
ALIGN_CORNERS = tl.constexpr(4)  # interpolation that keeps the corners where they are
NEAREST = tl.constexpr(5)  # the nearest score


@triton.jit
def bilinear(kernel_index, KERNEL: tl.constexpr):
    FACTOR: tl.constexpr = (KERNEL + 1) // 2
    CENTER: tl.constexpr = FACTOR - 0.5 - 0.5 * (KERNEL % 2)
    return 1.0 - tl.abs(kernel_index - CENTER) / FACTOR


@triton.jit
def tap(position, step, length, scale, KERNEL: tl.constexpr, STRIDE: tl.constexpr, KIND: tl.constexpr):
    """The ``step``-th coarse entry that reaches ``position``, on one axis of ``length`` coarse entries.

    Returns its index, its weight where the kind has one, its index in the kernel, and whether it exists.
    """
    if KIND <= DENSE:
        index = position // STRIDE - step
        kernel_index = position - index * STRIDE
        weight = bilinear(kernel_index, KERNEL)
        exists = (index >= 0) & (index < length) & (kernel_index < KERNEL)
    else:
        if KIND == HALF_PIXEL:
            source = tl.maximum((position.to(tl.float32) + 0.5) * scale - 0.5, 0.0)
        else:
            source = position.to(tl.float32) * scale
        lower = source.to(tl.int32)
        upper_weight = source - lower.to(tl.float32)
        if KIND == NEAREST:
            weight = upper_weight * 0.0 + 1.0
        elif step == 0:
            weight = 1.0 - upper_weight
        else:
            weight = upper_weight
        # Where the axis keeps its size the second entry weighs nothing. It is the first one again, as in torch: a
        # NaN beside it must not get in as 0 * NaN.
        index = tl.minimum(lower + tl.where(scale == 1.0, 0, step), length - 1)
        kernel_index = index
        exists = index >= 0
    return index, weight, kernel_index, exists


@triton.jit
def upsample_diagonal(
    acc,
    coarse_ptr,  # at image n and class c; a block of pointers where c is one
    taps_ptr,  # at class c; read only where KIND is DEPTHWISE
    y,  # rows and columns of the upsampled map, in shapes that broadcast to acc's
    x,
    height,
    width,
    scale_y,  # coarse entries per output pixel, for interpolation
    scale_x,
    stride_h,
    stride_w,
    mask,
    KERNEL: tl.constexpr,
    STRIDE: tl.constexpr,
    KIND: tl.constexpr,
):
    """``acc`` plus the upsampled scores at ``(y, x)``, for weights that keep the classes apart."""
    TAPS: tl.constexpr = (KERNEL + STRIDE - 1) // STRIDE if KIND <= DENSE else 1 if KIND == NEAREST else 2
    for step_y in tl.static_range(TAPS):
        iy, weight_y, ky, exists_y = tap(y, step_y, height, scale_y, KERNEL, STRIDE, KIND)
        for step_x in tl.static_range(TAPS):
            ix, weight_x, kx, exists_x = tap(x, step_x, width, scale_x, KERNEL, STRIDE, KIND)
            inside = mask & exists_y & exists_x
            at = iy.to(tl.int64) * stride_h + ix.to(tl.int64) * stride_w  # large maps pass 2^31 elements
            coarse = tl.load(coarse_ptr + at, mask=inside, other=0.0).to(tl.float32)
            if KIND == DEPTHWISE:
                weight = tl.load(taps_ptr + (ky * KERNEL + kx), mask=inside, other=0.0).to(tl.float32)
            else:
                weight = weight_y * weight_x
            acc += weight * coarse
    return acc


@triton.jit
def upsample_cells(
    coarse_ptr,  # at image n and class c
    taps_ptr,  # at class c; read only where KIND is DEPTHWISE
    iy,  # [1, CELLS]: the last coarse row and column that reach each cell
    ix,
    phase_y,  # [PIXELS, 1]: the place of each pixel in its cell
    phase_x,
    height,
    width,
    stride_h,
    stride_w,
    KERNEL: tl.constexpr,
    STRIDE: tl.constexpr,
    KIND: tl.constexpr,
):
    """The upsampled scores of one class at all STRIDE x STRIDE pixels of cells, ``[PIXELS, CELLS]``.

    All pixels of a cell need the same few coarse scores, so each is read once a cell and not once a pixel.
    """
    TAPS: tl.constexpr = (KERNEL + STRIDE - 1) // STRIDE
    value = phase_y.to(tl.float32) * 0.0 + iy.to(tl.float32) * 0.0
    for step_y in tl.static_range(TAPS):
        row = iy - step_y
        ky = phase_y + step_y * STRIDE
        for step_x in tl.static_range(TAPS):
            column = ix - step_x
            kx = phase_x + step_x * STRIDE
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            at = row.to(tl.int64) * stride_h + column.to(tl.int64) * stride_w
            coarse = tl.load(coarse_ptr + at, mask=inside, other=0.0).to(tl.float32)
            if KIND == DEPTHWISE:
                weight = tl.load(taps_ptr + (ky * KERNEL + kx), mask=(ky < KERNEL) & (kx < KERNEL), other=0.0)
            else:
                weight = bilinear(ky, KERNEL) * bilinear(kx, KERNEL)
            term = weight * coarse
            if KERNEL % STRIDE != 0:  # where the kernel has no tap, an infinity must not become NaN
                term = tl.where((ky < KERNEL) & (kx < KERNEL), term, 0.0)
            value += term
    return value


@triton.jit
def phase_pixels(
    tile,
    offset_y,
    offset_x,
    out_height,
    out_width,
    STRIDE: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """The pixels of one tile that share a phase, that is their place within a stride.

    Pixels of one phase meet the same kernel taps, so a dense transposed convolution is one matrix product per
    phase and tap. Returns window rows and columns, the coarse indices that go with them, and the two phases.
    """
    first_y = offset_y // STRIDE
    first_x = offset_x // STRIDE
    cells_y = (offset_y + out_height - 1) // STRIDE - first_y + 1
    cells_x = (offset_x + out_width - 1) // STRIDE - first_x + 1
    phase = tile % (STRIDE * STRIDE)
    phase_y = phase // STRIDE
    phase_x = phase % STRIDE
    cell = (tile // (STRIDE * STRIDE)) * BLOCK_P + tl.arange(0, BLOCK_P)
    iy = first_y + cell // cells_x
    ix = first_x + cell % cells_x
    y = iy * STRIDE + phase_y - offset_y
    x = ix * STRIDE + phase_x - offset_x
    mask = (cell < cells_y * cells_x) & (y >= 0) & (y < out_height) & (x >= 0) & (x < out_width)
    return y, x, iy, ix, phase_y, phase_x, mask


@triton.jit
def upsample_dense(
    acc,  # [BLOCK_P, BLOCK_C]
    coarse_ptr,  # at image n
    taps_ptr,
    iy,  # [BLOCK_P]: the last coarse row and column that reach each pixel
    ix,
    phase_y,
    phase_x,
    offs_c,  # [BLOCK_C]: classes of the output
    num_classes,
    height,
    width,
    stride_c,
    stride_h,
    stride_w,
    mask,
    KERNEL: tl.constexpr,
    STRIDE: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """``acc`` plus the upsampled scores of pixels of one phase, for weights that mix the classes."""
    TAPS: tl.constexpr = (KERNEL + STRIDE - 1) // STRIDE
    offs_k = tl.arange(0, BLOCK_K)
    for step_y in tl.static_range(TAPS):
        ky = phase_y + step_y * STRIDE
        row = iy - step_y
        mask_y = mask & (row >= 0) & (row < height) & (ky < KERNEL)
        for step_x in tl.static_range(TAPS):
            kx = phase_x + step_x * STRIDE
            column = ix - step_x
            inside = mask_y & (column >= 0) & (column < width) & (kx < KERNEL)
            pixel_ptr = coarse_ptr + (row.to(tl.int64) * stride_h + column.to(tl.int64) * stride_w)
            # One or two steps, of which none is worth loading ahead: that takes registers it does not have.
            for k in tl.range(0, num_classes, BLOCK_K, num_stages=1):
                mask_k = k + offs_k < num_classes
                a = tl.load(
                    pixel_ptr[:, None] + (k + offs_k)[None, :].to(tl.int64) * stride_c,
                    mask=inside[:, None] & mask_k[None, :],
                    other=0.0,
                )
                b = tl.load(
                    taps_ptr
                    + ((k + offs_k)[:, None] * num_classes + offs_c[None, :]) * (KERNEL * KERNEL)
                    + (ky * KERNEL + kx),
                    mask=mask_k[:, None] & (offs_c < num_classes)[None, :] & (ky < KERNEL) & (kx < KERNEL),
                    other=0.0,
                )
                # Scores are few and decide the label: full float32, whatever torch allows elsewhere.
                acc = tl.dot(a.to(tl.float32), b.to(tl.float32), acc, input_precision="ieee")
    return acc
