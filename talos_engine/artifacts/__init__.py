"""Everything that is written to disk: masks, checkpoints, task vectors, scores, metrics.

Each kind is a frozen dataclass with a function that writes it and one that reads it and believes
nothing. How the things come to be is the affair of the rooms above.
"""

from __future__ import annotations

from talos_engine.artifacts.artifact_file import inspect_kind, read_header
from talos_engine.artifacts.checkpoint import (
    Checkpoint,
    CheckpointFile,
    open_checkpoint,
    read_checkpoint,
    read_checkpoint_header,
    stream_checkpoint,
    write_checkpoint,
)
from talos_engine.artifacts.checkpoint_folder import (
    SHARD_BYTES,
    check_checkpoint_folder,
    stream_checkpoint_folder,
)
from talos_engine.artifacts.container import TensorFile, TensorSpec
from talos_engine.artifacts.container_writer import write_tensors
from talos_engine.artifacts.distinct import check_distinct
from talos_engine.artifacts.evaluation import (
    LINEARIZED,
    PLAIN,
    common_evaluation,
    recorded_evaluation,
)
from talos_engine.artifacts.files import (
    StrPath,
    atomic_write,
    check_output,
    discard_output,
    file_hash,
    open_regular,
    reserve_output,
)
from talos_engine.artifacts.folders import atomic_folder, check_folder, copy_output
from talos_engine.artifacts.header import KINDS, SCHEMA, BaseInfo, Header, check_base
from talos_engine.artifacts.mask import Mask, MaskFile, open_mask, read_mask, write_mask
from talos_engine.artifacts.metrics import METRICS_SCHEMA, read_metrics, write_metrics
from talos_engine.artifacts.resume import ResumeState, read_resume, write_resume
from talos_engine.artifacts.scores import Scores, read_scores, read_scores_header, write_scores
from talos_engine.artifacts.strict_json import JSON, read_json, write_json
from talos_engine.artifacts.tensor_folder import (
    artifact_bytes,
    artifact_hash,
    is_checkpoint_folder,
    open_tensors,
)
from talos_engine.artifacts.tensors import hash_tensors
from talos_engine.artifacts.vector import (
    BITS_OF,
    RANGE_ENTRIES,
    TaskVector,
    VectorEntry,
    VectorPiece,
    make_entry,
    restore,
)
from talos_engine.artifacts.vector_file import VectorFile, open_vector, read_vector, write_vector

__all__ = [
    "BITS_OF",
    "JSON",
    "KINDS",
    "LINEARIZED",
    "METRICS_SCHEMA",
    "PLAIN",
    "RANGE_ENTRIES",
    "SCHEMA",
    "SHARD_BYTES",
    "BaseInfo",
    "Checkpoint",
    "CheckpointFile",
    "Header",
    "Mask",
    "MaskFile",
    "ResumeState",
    "Scores",
    "StrPath",
    "TaskVector",
    "TensorFile",
    "TensorSpec",
    "VectorEntry",
    "VectorFile",
    "VectorPiece",
    "artifact_bytes",
    "artifact_hash",
    "atomic_folder",
    "atomic_write",
    "check_base",
    "check_checkpoint_folder",
    "check_distinct",
    "check_folder",
    "check_output",
    "common_evaluation",
    "copy_output",
    "discard_output",
    "file_hash",
    "hash_tensors",
    "inspect_kind",
    "is_checkpoint_folder",
    "make_entry",
    "open_checkpoint",
    "open_mask",
    "open_regular",
    "open_tensors",
    "open_vector",
    "read_checkpoint",
    "read_checkpoint_header",
    "read_header",
    "read_json",
    "read_mask",
    "read_metrics",
    "read_resume",
    "read_scores",
    "read_scores_header",
    "read_vector",
    "recorded_evaluation",
    "reserve_output",
    "restore",
    "stream_checkpoint",
    "stream_checkpoint_folder",
    "write_checkpoint",
    "write_json",
    "write_mask",
    "write_metrics",
    "write_resume",
    "write_scores",
    "write_tensors",
    "write_vector",
]
