"""The names that a checkpoint's pickle may call: everything that torch.save and usual trainers write.

Nothing of this is ever imported or called. A call of a name outside these tables means that the file wants to run
something that a list of weights has no need for, and it is refused. To mention a name, or to be an object of an unknown
class, is no call.
"""

from __future__ import annotations

from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Mapping
from types import MappingProxyType

from fcnrt.checkpoints.stored import ITEMSIZES

STORAGE_DTYPES: Mapping[str, str] = MappingProxyType(
    {
        "BoolStorage": "bool",
        "ByteStorage": "uint8",
        "CharStorage": "int8",
        "ShortStorage": "int16",
        "IntStorage": "int32",
        "LongStorage": "int64",
        "HalfStorage": "float16",
        "BFloat16Storage": "bfloat16",
        "FloatStorage": "float32",
        "DoubleStorage": "float64",
        "ComplexFloatStorage": "complex64",
        "ComplexDoubleStorage": "complex128",
        "QInt8Storage": "qint8",
        "QUInt8Storage": "quint8",
        "QInt32Storage": "qint32",
        "UntypedStorage": "uint8",
    }
)
"""Storage classes -> element type."""

# The same storages under the names of CUDA tensors, and under the module that has held them since torch 2.0.
STORAGES: Mapping[str, str] = MappingProxyType(
    {
        f"{module}.{name}": dtype
        for module in ("torch", "torch.cuda", "torch.storage")
        for name, dtype in STORAGE_DTYPES.items()
    }
)

TENSOR_CALLS = frozenset(
    {"torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor_v3"}
)
WRAPPING_CALLS = frozenset(
    {"torch.Size", "torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"}
)
"""Calls that stand for their first argument."""

DICT_CALLS = frozenset({"collections.OrderedDict"})
LIST_CALLS = frozenset({"builtins.set", "builtins.frozenset"})
"""Kept as lists: what is in them need not be hashable here."""

WRAPPING_CLASSES = frozenset({"torch.nn.parameter.Parameter", "torch.autograd.variable.Variable"})
"""Classes whose objects stand for their first argument, as torch before 0.4 pickled them."""

_PLAIN = ("bool", "bytearray", "bytes", "complex", "dict", "float", "int", "list", "object")
_NUMPY = ("_reconstruct", "scalar")
_NUMPY_SCALARS = ("bool_", "bool", "float16", "float32", "float64", "int8", "int32", "int64", "uint8")

HARMLESS = frozenset(
    {
        "_codecs.encode",
        "argparse.Namespace",
        "collections.Counter",
        "collections.defaultdict",
        "datetime.datetime",
        "functools.partial",
        "numpy._core.numeric._frombuffer",
        "numpy.core.numeric._frombuffer",
        "numpy.dtype",
        "numpy.ndarray",
        "pathlib.PosixPath",
        "pathlib.WindowsPath",
        "pathlib._local.PosixPath",
        "pathlib._local.WindowsPath",
        "torch.Tensor",
        "torch._tensor._rebuild_from_type_v2",
        "torch._utils._rebuild_device_tensor_from_cpu_tensor",
        "torch._utils._rebuild_device_tensor_from_numpy",
        "torch._utils._rebuild_meta_tensor_no_storage",
        "torch._utils._rebuild_qtensor",
        "torch._utils._rebuild_sparse_tensor",
        "torch.device",
        "torch.per_channel_affine",
        "torch.per_tensor_affine",
        "torch.serialization._get_layout",
        *(f"builtins.{name}" for name in (*_PLAIN, "slice", "str", "tuple")),
        *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in _NUMPY),
        *(f"numpy.{name}" for name in _NUMPY_SCALARS),
        *(f"numpy.dtypes.{name}DType" for name in ("Float32", "Float64", "Int32", "Int64", "Bool")),
        *(f"torch.{dtype}" for dtype in ITEMSIZES),
    }
)
"""Names whose meaning a reader of weights can leave alone."""

CALLABLE = HARMLESS | TENSOR_CALLS | WRAPPING_CALLS | WRAPPING_CLASSES | DICT_CALLS | LIST_CALLS | frozenset(STORAGES)


def current_name(module: str, name: str) -> str:
    """The full name of what Python 2 called ``module.name``: old pickles, and new ones of protocol 2, say it so."""
    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    return f"{module}.{name}"
