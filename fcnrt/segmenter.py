"""Images in, label maps out: a network with its preprocessing, its engine and what its classes mean."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import Any, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcnrt.calibration import calibration_tensors
from fcnrt.engine import Engine, Placement, available_memory
from fcnrt.errors import ImageError, InputError
from fcnrt.images import Depth, ImageSource, is_several, pair_up, read_depth, read_image, resize_map, size_for
from fcnrt.models import FCN
from fcnrt.models.registry import create_skeleton
from fcnrt.preprocessing import KINDS, Kind, normalize
from fcnrt.rgb import Pixels
from fcnrt.segmentation import Segmentation
from fcnrt.spec import ModelSpec


class Segmenter(nn.Module):
    """A network that is ready to label pixels; ``fcnrt.load`` makes one.

    It is an ``nn.Module`` in eval mode, bound to the device and type that it was loaded for. Many threads may call
    one Segmenter.

    Args:
        spec: what the network is.
        state_dict: its weights, float32 on the CPU, by the parameter names of ``fcnrt.models``.
        placement: device and type.
        engine: ``"fused"`` or ``"eager"``.
        calibration: images for int8; see :func:`fcnrt.load`.
    """

    def __init__(
        self,
        spec: ModelSpec,
        state_dict: dict[str, Tensor],
        placement: Placement,
        engine: str,
        calibration: Iterable[ImageSource] | None = None,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.engine_name = engine
        self._weights = state_dict
        self._reference: list[FCN] = []  # in a list, so that it is no submodule
        shown = calibration_tensors(calibration, spec.normalization) if placement.dtype == torch.int8 else ()
        self.engine = Engine(self._build_net(), placement, engine, shown)
        self.eval()

    def forward(self, x: Tensor) -> Any:
        """What the eager net returns.

        Args:
            x: floating ``[N,3,H,W]``, normalised as ``spec.normalization`` says; any H and W from 1 up. Nets that take
                more have it behind colour: ``[N,6,H,W]`` with HHA, ``[N,4,H,W]`` with depth.

        Returns:
            Logits, float32 ``[N,C,H,W]``; of a net with several heads a dict of them.

        Raises:
            InputError: ``x`` has another shape or type.
        """
        return self.engine(self._checked(x))

    def predict_labels(self, x: Tensor, confidence: bool = False) -> Any:
        """The best class of each pixel; the logits are never written to memory on a GPU.

        Args:
            x: as for calling the model.
            confidence: also return the winner's softmax probability.

        Returns:
            Labels, uint8 ``[N,H,W]`` (int32 past 255 classes); with ``confidence`` a tuple of them and the
            probability, float16 ``[N,H,W]``. Of a net with several heads a dict of these.

        Raises:
            InputError: ``x`` has another shape or type.
        """
        return self.engine.predict_labels(self._checked(x), confidence)

    @overload
    def segment(  # type: ignore[overload-overlap]  # a str or a tensor is iterable too, and one image first
        self,
        image: ImageSource,
        *,
        hha: ImageSource | None = None,
        depth: ImageSource | None = None,
        confidence: bool = False,
        resize: int | None = None,
    ) -> Segmentation: ...
    @overload
    def segment(
        self,
        image: Iterable[ImageSource],
        *,
        hha: Iterable[ImageSource] | None = None,
        depth: Iterable[ImageSource] | None = None,
        confidence: bool = False,
        resize: int | None = None,
    ) -> list[Segmentation]: ...
    def segment(
        self, image: Any, *, hha: Any = None, depth: Any = None, confidence: bool = False, resize: int | None = None
    ) -> Any:
        """Label the pixels of an image, or of each of several.

        Args:
            image: a path, bytes, a binary file, a PIL image, a uint8 RGB array ``[H,W,3]``, a uint8 RGB tensor
                ``[3,H,W]``; or several: a tensor ``[N,3,H,W]``, a list or any other iterable of single images.
            hha: for nets that take HHA beside colour (``nyud-fcn32s-color-hha``), an image of the same size with
                disparity, height and angle in its three channels; with several images, as many of these.
            depth: for nets that take depth beside colour (``nyud-fcn32s-color-d``), a map of the same size in
                millimetres, without holes: anything that ``fcnrt.images.read_depth`` reads; with several images, as
                many of these.
            confidence: also keep the winner's probability of each pixel.
            resize: bring the shorter side to this many pixels first, as torchvision's presets do (520); the
                logits are brought back bilinearly, so labels always have the image's own size. None: native size.

        Returns:
            A ``Segmentation``, or a list of them where several images were given.

        Raises:
            ImageError: an image cannot be read, or is too large for this machine; what is beside it has another size.
            InputError: ``resize`` is not a positive number; the net takes something else beside colour than was given.
        """
        if resize is not None and (isinstance(resize, bool) or not isinstance(resize, int) or resize < 1):
            raise InputError(f"resize is {resize!r}; expected the shorter side in pixels, such as 520, or None")
        beside = self._beside(hha=hha, depth=depth)
        if not is_several(image):
            return self._segment(image, beside, confidence, resize)
        return [self._segment(*pair, confidence, resize) for pair in pair_up(image, beside)]

    @property
    def reference(self) -> FCN:
        """The eager float32 net with the same weights, on the same device: the yardstick.

        It is built when first asked for, and is not a submodule.
        """
        if not self._reference:
            net = self._build_net().eval().requires_grad_(False)
            self._reference.append(net.to(self.engine.placement.device))
        return self._reference[0]

    @property
    def device(self) -> torch.device:
        """Where the model runs."""
        return self.engine.placement.device

    @property
    def dtype(self) -> torch.dtype:
        """The type that the trunk computes in."""
        return self.engine.placement.dtype

    def extra_repr(self) -> str:
        spec, placement = self.spec, self.engine.placement
        dtype = str(placement.dtype).removeprefix("torch.")
        return f"{spec.arch}, {spec.num_classes} classes, {self.engine_name} on {placement.device} in {dtype}"

    def _apply(self, fn: Any, recurse: bool = True) -> Segmenter:
        """What ``to``, ``cuda``, ``half`` and their like call: only what changes nothing is allowed."""
        probe = torch.empty(0, dtype=self.dtype, device=self.device)
        moved = fn(probe)
        if (moved.device, moved.dtype) != (probe.device, probe.dtype):
            raise InputError(
                f"this model was loaded for {self.device} in {self.dtype}, and packed for it; "
                f"load it again with fcnrt.load(path, device=..., dtype=...)"
            )
        return self

    def train(self, mode: bool = True) -> Segmenter:
        """Eval mode only.

        Raises:
            InputError: training mode was asked for.
        """
        if mode:
            raise InputError(
                "a Segmenter runs in eval mode only; to train, take a net of fcnrt.models.create_model "
                "and the weights of model.reference.state_dict()"
            )
        return super().train(False)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Not for a packed model.

        Raises:
            InputError: always; part of the weights would change and part would not.
        """
        raise InputError(
            "a Segmenter's weights are packed when it is made; write the new ones to a file and load it with fcnrt.load"
        )

    def _build_net(self) -> FCN:
        net = create_skeleton(self.spec.arch, self.spec.num_classes, **self.spec.options)
        net.load_state_dict(self._weights, assign=True)
        return net

    def _checked(self, x: Tensor) -> Tensor:
        channels = self.engine.in_channels
        if not isinstance(x, Tensor) or x.ndim != 4 or x.shape[1] != channels or not x.is_floating_point():
            found = f"{x.dtype} {list(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
            raise InputError(
                f"the input is {found}; expected a floating [N,{channels},H,W], normalised as "
                f"{self.spec.normalization.name}. For images, call model.segment"
            )
        if not x.shape[2] or not x.shape[3]:
            raise InputError(f"the input is {list(x.shape)}; expected at least one row and one column")
        return x.to(self.device)

    def _beside(self, **given: Any) -> Any:
        """What ``segment`` was given beside colour, once it is what the net takes; None if that is colour alone."""
        arch, rule, channels = self.spec.arch, self.spec.normalization, self.engine.in_channels
        if rule.channels != channels:
            raise InputError(
                f"{arch} takes {channels} channels, and normalization {rule.name!r} makes {rule.channels}; load the "
                f"net with another, or normalise by hand and call model(x) or model.predict_labels(x)"
            )
        taken = None if rule.beside is None else rule.beside.kind
        found = [kind for kind, source in given.items() if source is not None]
        if found != ([] if taken is None else [taken]):
            expected = "colour alone" if taken is None else f"{KINDS[taken][0]} beside colour, as {taken}="
            raise InputError(f"{arch} takes {expected}; found {' and '.join(f'{kind}=' for kind in found) or 'none'}")
        return None if taken is None else given[taken]

    def _segment(self, source: ImageSource, beside: Any, confidence: bool, resize: int | None) -> Segmentation:
        started = time.perf_counter()
        image = read_image(source)
        height, width = image.shape[0], image.shape[1]
        path = os.fspath(source) if isinstance(source, (str, os.PathLike)) else None
        kind = None if self.spec.normalization.beside is None else self.spec.normalization.beside.kind
        more = None if kind is None else _read_beside(kind, beside, image, path or "image")
        size: tuple[int, int] = (height, width) if resize is None else size_for(height, width, resize)
        self._check_memory(*size, path or "image")
        shown = resize_map(image, size)
        with torch.inference_mode():
            x = normalize(
                self._channels_first(shown),
                self.spec.normalization,
                None if more is None else self._channels_first(resize_map(more, size)),
            )
            self._wait()
            prepared = time.perf_counter()
            heads = self._label_heads(x, confidence, None if shown is image else (height, width))
            self._wait()
            inferred = time.perf_counter()
            maps = {name: labels[0].cpu().numpy() for name, (labels, _) in heads.items()}
            probability = next(iter(heads.values()))[1]
            result = Segmentation(
                labels=next(iter(maps.values())),
                classes=self.spec.classes,
                palette=self.spec.palette,
                image=image,
                path=path,
                confidence=None if probability is None else probability[0].cpu().numpy(),
                heads=maps if len(maps) > 1 else {},
            )
        finished = time.perf_counter()
        result.speed = {
            "preprocess": (prepared - started) * 1e3,
            "inference": (inferred - prepared) * 1e3,
            "postprocess": (finished - inferred) * 1e3,
        }
        return result

    def _channels_first(self, image: Pixels | Depth) -> Tensor:
        """``[H,W,C]``, or ``[H,W]`` of one channel, to ``[1,C,H,W]`` on the model's device."""
        pixels = torch.from_numpy(image).to(self.device)
        return pixels[None, None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)[None]

    def _label_heads(
        self, x: Tensor, confidence: bool, size: tuple[int, int] | None
    ) -> dict[str, tuple[Tensor, Tensor | None]]:
        """Labels, and the probability if asked for, of each head; at ``size``, where that is not the input's."""
        if size is None:
            labelled = _by_head(self.predict_labels(x, confidence))
            return {name: labels if confidence else (labels, None) for name, labels in labelled.items()}
        heads: dict[str, tuple[Tensor, Tensor | None]] = {}
        for name, logits in _by_head(self(x)).items():
            # Scores are brought to the image's size, not labels: a label between two others means nothing.
            at_size = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
            labels = at_size.argmax(dim=1).to(torch.uint8 if logits.shape[1] <= 255 else torch.int32)
            heads[name] = (labels, at_size.softmax(dim=1).amax(dim=1).half() if confidence else None)
        return heads

    def _check_memory(self, height: int, width: int, name: str) -> None:
        """A machine that runs out of memory kills the run; a refusal costs one image."""
        needed = self.engine.peak_elements(height, width) * self.dtype.itemsize
        available = available_memory(self.device)
        if needed > available:
            raise ImageError(
                f"{name}: {width}x{height} pixels need {needed / 2**30:.1f} GiB for activations on {self.device}, and "
                f"{available / 2**30:.1f} GiB are free; pass resize=520 (--resize 520), or cut the image into parts"
            )

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _by_head(outputs: Any) -> dict[str, Any]:
    """What a net with one head gives, in the form that a net with several gives."""
    return outputs if isinstance(outputs, dict) else {"out": outputs}


def _read_beside(kind: Kind, source: ImageSource, image: Pixels, name: str) -> Pixels | Depth:
    """HHA or depth, of the size of ``image``, whose ``name`` is for the error."""
    read = read_image(source) if kind == "hha" else read_depth(source)
    if read.shape[:2] != image.shape[:2]:
        (height, width), (rows, columns) = image.shape[:2], read.shape[:2]
        raise ImageError(
            f"{name}: is {width}x{height}, and its {KINDS[kind][0]} {columns}x{rows}; expected the same size, pixel "
            "for pixel"
        )
    return read
