"""What a recipe must know of the commands that its steps run: what they write, and where.

Options themselves are checked by the command line, which knows them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

CHOOSE = "choose"


@dataclass(frozen=True)
class CommandShape:
    """Files of a command.

    Args:
        suffix: Ending of the name of its output.
        computes: Whether it runs a model, and so takes ``--threads``, ``--device`` and the like.
        companions: Ending of files that it writes beside its output, by the name under which a
            recipe refers to them, with the option that makes it write them.
    """

    suffix: str
    computes: bool = True
    companions: Mapping[str, tuple[str, str]] = field(default_factory=dict)


_SEARCHED = {"search": (".search.json", "search")}

COMMANDS: Mapping[str, CommandShape] = {
    "calibrate": CommandShape(".mask.safetensors"),
    "finetune": CommandShape(".ckpt.safetensors"),
    "vector": CommandShape(".vector.safetensors", computes=False),
    "add": CommandShape(".safetensors", companions=_SEARCHED),
    "negate": CommandShape(".safetensors", companions=_SEARCHED),
    "evaluate": CommandShape(".json"),
    "disentangle": CommandShape(".json"),
    "profile": CommandShape(".json"),
    "inspect": CommandShape(".json", computes=False),
    "export": CommandShape("", computes=False),
    "mask union": CommandShape(".mask.safetensors", computes=False),
    "mask intersect": CommandShape(".mask.safetensors", computes=False),
    "mask subtract": CommandShape(".mask.safetensors", computes=False),
    CHOOSE: CommandShape(".json", computes=False),
}

RESERVED = frozenset({"out", "force", "resume", "quiet", "json", "debug", "dry-run", "config"})
