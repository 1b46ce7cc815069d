"""Arguments that follow the size of an image.

Triton compiles a kernel anew for integers that are 1 or multiples of 16. That pays for the strides of feature maps,
which a net fixes and wide loads need; for sizes it would only mean that one image in sixteen waits for a compiler.
"""

SIZES = (
    *("batch", "rows", "columns", "height", "width", "origin_y", "origin_x"),
    *("tiles_m", "tiles_n", "tiles_y", "tiles_x", "splits", "steps"),
    *("coarse_height", "coarse_width", "out_height", "out_width", "offset_y", "offset_x", "skip_y", "skip_x"),
    *("height0", "width0", "height1", "width1", "height2", "width2"),
    *("offset1_y", "offset1_x", "offset2_y", "offset2_x", "skip1_y", "skip1_x", "skip2_y", "skip2_x"),
)
"""Names as the kernels have them."""

SCORE_STRIDES = ("stride_sn", "stride_sc", "stride_sh")
"""Of scores ``[N,C,H,W]``, where the width is the stride of a row."""

LABEL_STRIDES = ("stride_ln", "stride_lh", "stride_pn", "stride_ph")
"""Of labels and confidences ``[N,H,W]``."""
