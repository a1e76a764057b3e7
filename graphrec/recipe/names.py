"""Which names may be used: naming rules, reserved words, and the shared namespace of the graph."""

from __future__ import annotations

import keyword
import re

__all__ = ["MODULE_ATTRIBUTES", "RESERVED_NAMES", "feature_name", "node_name"]

RESERVED_NAMES = frozenset(["all", "embeddings", "first_order", "head", "rel", "task"])
"""Words of the language and attributes of the generated module: no group, node or composite."""

MODULE_ATTRIBUTES = frozenset(
    [
        "add_module",
        "apply",
        "bfloat16",
        "buffers",
        "call_super_init",
        "children",
        "compile",
        "cpu",
        "cuda",
        "double",
        "dump_patches",
        "eval",
        "extra_repr",
        "float",
        "forward",
        "get_buffer",
        "get_extra_state",
        "get_parameter",
        "get_submodule",
        "half",
        "ipu",
        "load_state_dict",
        "modules",
        "mtia",
        "named_buffers",
        "named_children",
        "named_modules",
        "named_parameters",
        "parameters",
        "register_backward_hook",
        "register_buffer",
        "register_forward_hook",
        "register_forward_pre_hook",
        "register_full_backward_hook",
        "register_full_backward_pre_hook",
        "register_load_state_dict_post_hook",
        "register_load_state_dict_pre_hook",
        "register_module",
        "register_parameter",
        "register_state_dict_post_hook",
        "register_state_dict_pre_hook",
        "requires_grad_",
        "set_extra_state",
        "set_submodule",
        "share_memory",
        "state_dict",
        "to",
        "to_empty",
        "train",
        "training",
        "type",
        "xpu",
        "zero_grad",
    ]
)
"""What torch.nn.Module has, among the names a recipe could use; frozen, tested against torch."""

_NODE = re.compile(r"[a-z][a-z0-9_]*")
_FEATURE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LONGEST = 100


def feature_name(name: str) -> str | None:
    """Why `name` can't be a feature, or None.

    >>> feature_name("user id")
    'a feature is called by letters, digits and _, and starts with no digit'
    """
    if not _FEATURE.fullmatch(name):
        return "a feature is called by letters, digits and _, and starts with no digit"
    if name == "all":
        return "`all` is the group of every feature"
    return f"a name has at most {_LONGEST} characters" if len(name) > _LONGEST else None


def node_name(name: str, *, task: bool = False) -> str | None:
    """Why `name` can't be a group, node or composite (or a task), or None.

    >>> node_name("Tower")
    'names here are lower case: letters, digits and _, a letter first'
    >>> node_name("forward")
    '`forward` is an attribute of every torch module'
    """
    if not _NODE.fullmatch(name):
        return "names here are lower case: letters, digits and _, a letter first"
    if len(name) > _LONGEST:
        return f"a name has at most {_LONGEST} characters"
    if keyword.iskeyword(name):
        return f"`{name}` is a word of Python"
    if name in MODULE_ATTRIBUTES:
        return f"`{name}` is an attribute of every torch module"
    if not task and name in RESERVED_NAMES:
        return f"`{name}` is reserved"
    return None
