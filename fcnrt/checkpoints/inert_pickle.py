"""A pickle as data. Nothing that a pickle names is imported, called or built: this interpreter has no way to.

``pickle.Unpickler`` runs what a file asks for, and restricting it leaves its C code open to files that take
memory (a memo index of 2**31). ``torch.load(weights_only=True)`` allocates whatever a file declares, reads the
optimizer's state too, knows protocol 2 alone, and takes numpy's scalars only after a change to a list that the whole
process shares. This one knows the opcodes of all protocols, and works on lists, dictionaries and descriptions. What
it yields:

* containers and plain values as themselves (sets as lists, so that no hostile value is ever hashed);
* tensors as :class:`~fcnrt.checkpoints.stored.StoredTensor`, parameters as their tensors;
* every other object as an :class:`~fcnrt.checkpoints.pickle_values.Instance`: the name of its class and its attributes.

Whole pickled modules are such objects; ``pickled_modules`` finds their tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fcnrt.checkpoints import pickle_names as names
from fcnrt.checkpoints.pickle_values import Global, Instance, MalformedError, checked_key, pairs
from fcnrt.checkpoints.pickled_tensors import storage_of, tensor_of
from fcnrt.checkpoints.stored import Storage
from fcnrt.checkpoints.wording import quote
from fcnrt.errors import CheckpointError


class PickleMachine:
    """The stack machine of one pickle.

    Args:
        storages: Filled with what the pickle declares.
        spend: Called with the work that is about to be done, beyond one step per opcode.
    """

    def __init__(self, storages: dict[str, Storage], spend: Callable[[int], None]) -> None:
        self._storages = storages
        self._spend = spend
        self._stack: list[Any] = []
        self._outer: list[list[Any]] = []  # the stacks below each mark
        self._memo: dict[int, Any] = {}

    def step(self, name: str, arg: Any) -> None:
        if name in _ARGUMENTS:
            self._stack.append(arg)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _FRESH:
            self._stack.append(_FRESH[name]())
        elif name in _HANDLERS:
            _HANDLERS[name](self, arg)
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise MalformedError(f"opcode {name} has no place in a checkpoint")

    def result(self) -> Any:
        """The value left at STOP."""
        if len(self._stack) != 1 or self._outer:
            raise MalformedError("it does not end with one value")
        return self._stack.pop()

    # Names, calls and objects.

    def find(self, arg: str) -> None:
        module, _, name = arg.partition(" ")
        self._push_global(module, name)

    def stack_global(self, _: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if not isinstance(module, str) or not isinstance(name, str):
            raise MalformedError("a global's name is not a string")
        self._push_global(module, name)

    def _push_global(self, module: str, name: str) -> None:
        self._stack.append(Global(names.current_name(module, name)))

    def reduce(self, _: Any) -> None:
        args, function = self._stack.pop(), self._stack.pop()
        self._stack.append(self._call(function, args))

    def inst(self, arg: str) -> None:
        args = self._pop_mark()
        self.find(arg)
        self._stack.append(self._call(self._stack.pop(), tuple(args)))

    def obj(self, _: Any) -> None:
        function, *args = self._pop_mark()
        self._stack.append(self._call(function, tuple(args)))

    def _call(self, function: Any, args: Any) -> Any:
        """What calling a known name would give, as data; anything else is refused, and never called."""
        if not isinstance(function, Global) or function.name not in names.CALLABLE:
            name = function.name if isinstance(function, Global) else type(function).__name__
            raise CheckpointError(
                f"its pickle would call {quote(name)}, and fcnrt runs nothing that a file asks for; "
                "expected a state dict of tensors. Do not open it by other means unless you trust its author"
            )
        if not isinstance(args, tuple):
            raise MalformedError("a call's arguments are not a tuple")
        if function.name in names.TENSOR_CALLS:
            return tensor_of(function.name, args)
        if function.name in names.WRAPPING_CALLS:
            return args[0]
        if function.name in names.LIST_CALLS:
            items = args[0] if args else ()
            self._spend(len(items))
            return list(items)
        if function.name in names.DICT_CALLS:
            items = args[0] if args else ()
            self._spend(len(items))  # a copy of what may be long
            return {checked_key(key): value for key, value in items}
        return Instance(function.name)

    def new_object(self, _: Any) -> None:
        args, cls = self._stack.pop(), self._stack.pop()
        if not isinstance(cls, Global):
            raise MalformedError("an object's class is not a global")
        if cls.name in names.WRAPPING_CLASSES and isinstance(args, tuple) and args:
            self._stack.append(args[0])
        else:
            self._stack.append({} if cls.name in names.DICT_CALLS else Instance(cls.name))

    def new_object_ex(self, _: Any) -> None:
        self._stack.pop()
        self.new_object(_)

    def build(self, _: Any) -> None:
        """An object's attributes."""
        state, target = self._stack.pop(), self._stack[-1]
        if isinstance(target, Instance) and isinstance(state, dict):
            target.attributes = state

    def persistent(self, _: Any) -> None:
        self._stack.append(storage_of(self._stack.pop(), self._storages))

    # Containers.

    def append(self, _: Any) -> None:
        self._extend([self._stack.pop()])

    def appends(self, _: Any) -> None:
        self._extend(self._pop_mark())

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Instance):  # a subclass of list has no meaning here
            raise MalformedError("items are added to something that is not a list")

    def set_item(self, _: Any) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._update([key, value])

    def set_items(self, _: Any) -> None:
        self._update(self._pop_mark())

    def _update(self, flat: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, dict):
            target.update(pairs(flat))
        elif not isinstance(target, Instance):  # a subclass of dict has no meaning here
            raise MalformedError("keys are set in something that is not a dictionary")

    def make_list(self, _: Any) -> None:
        items = self._pop_mark()
        self._stack.append(items)

    def make_dict(self, _: Any) -> None:
        items = self._pop_mark()
        self._stack.append(pairs(items))

    def make_tuple(self, _: Any) -> None:
        items = self._pop_mark()
        self._stack.append(tuple(items))

    def tuple_of(self, count: int) -> None:
        items = tuple(self._stack[-count:])
        if len(items) != count:
            raise MalformedError("the stack is too short for a tuple")
        self._stack[-count:] = [items]

    # The stack and the memo.

    def mark(self, _: Any) -> None:
        self._outer.append(self._stack)
        self._stack = []

    def _pop_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._outer.pop()
        return items

    def pop(self, _: Any) -> None:
        if self._stack:
            self._stack.pop()
        else:  # POP may also remove a mark
            self._pop_mark()

    def pop_mark(self, _: Any) -> None:
        self._pop_mark()

    def duplicate(self, _: Any) -> None:
        self._stack.append(self._stack[-1])

    def put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def get(self, index: int) -> None:
        self._stack.append(self._memo[index])


_NUMBERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT")
_TEXTS = ("STRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8")
_BYTES = ("BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8")
_ARGUMENTS = frozenset((*_NUMBERS, *_TEXTS, *_BYTES))
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_FRESH: dict[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": list}
_HANDLERS: dict[str, Callable[[PickleMachine, Any], None]] = {
    "GLOBAL": PickleMachine.find,
    "STACK_GLOBAL": PickleMachine.stack_global,
    "REDUCE": PickleMachine.reduce,
    "INST": PickleMachine.inst,
    "OBJ": PickleMachine.obj,
    "NEWOBJ": PickleMachine.new_object,
    "NEWOBJ_EX": PickleMachine.new_object_ex,
    "BUILD": PickleMachine.build,
    "BINPERSID": PickleMachine.persistent,
    "APPEND": PickleMachine.append,
    "APPENDS": PickleMachine.appends,
    "ADDITEMS": PickleMachine.appends,
    "SETITEM": PickleMachine.set_item,
    "SETITEMS": PickleMachine.set_items,
    "LIST": PickleMachine.make_list,
    "FROZENSET": PickleMachine.make_list,
    "DICT": PickleMachine.make_dict,
    "TUPLE": PickleMachine.make_tuple,
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "MARK": PickleMachine.mark,
    "POP": PickleMachine.pop,
    "POP_MARK": PickleMachine.pop_mark,
    "DUP": PickleMachine.duplicate,
    "PUT": PickleMachine.put,
    "BINPUT": PickleMachine.put,
    "LONG_BINPUT": PickleMachine.put,
    "MEMOIZE": PickleMachine.memoize,
    "GET": PickleMachine.get,
    "BINGET": PickleMachine.get,
    "LONG_BINGET": PickleMachine.get,
}
