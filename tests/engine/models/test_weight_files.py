"""Weights files of any library: which format they have, and what no model can take."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from talos_engine.errors import ArtifactError, MismatchError
from talos_engine.models.loading import load_weights
from talos_engine.models.weight_files import fit_state, read_state


@pytest.mark.parametrize(("length", "start"), [(640, b"\x80\x02"), (19280, b"PK")])
def test_safetensors_whose_length_looks_like_a_pickle(
    tmp_path: Path, length: int, start: bytes
) -> None:
    tensor = torch.arange(3.0)
    header = b'{"w": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}}'.ljust(length)
    path = tmp_path / "x.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + header + tensor.numpy().tobytes())
    assert path.read_bytes().startswith(start)
    assert read_state(path)["w"].equal(tensor)


@pytest.mark.parametrize("new", [False, True])
def test_both_formats_of_torch_are_pickles(tmp_path: Path, new: bool) -> None:
    path = tmp_path / "x.safetensors"
    torch.save({"w": torch.arange(3.0)}, path, _use_new_zipfile_serialization=new)
    assert read_state(path)["w"].equal(torch.arange(3.0))


@pytest.mark.parametrize("kind", ["sparse", "csr", "nested", "meta"])
def test_what_is_no_plain_tensor_is_named(tmp_path: Path, kind: str) -> None:
    plain = torch.eye(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that torch may still change these
        odd = {
            "sparse": plain.to_sparse,
            "csr": plain.to_sparse_csr,
            "nested": lambda: torch.nested.nested_tensor([plain]),
            "meta": lambda: plain.to("meta"),
        }[kind]()
        torch.save({"a": plain, "odd.weight": odd}, tmp_path / "x.pt")
        with pytest.raises(
            ArtifactError, match=r"x\.pt: 'odd\.weight' is no plain tensor"
        ) as caught:
            read_state(tmp_path / "x.pt")
    assert "dense, on the CPU" in caught.value.hint


def test_numbers_too_large_for_the_models_dtype_are_refused(tmp_path: Path, t5_toys: Any) -> None:
    found = {"w": torch.tensor([1.0, 1e300], dtype=torch.float64)}
    with pytest.raises(MismatchError, match=r"x: 'w' holds numbers too large for torch\.float32"):
        fit_state(Path("x"), found, {"w": torch.zeros(2)})
    fitted = fit_state(Path("x"), found, {"w": torch.zeros(2, dtype=torch.float64)})
    assert fitted["w"].equal(found["w"])
    own = Path(shutil.copytree(t5_toys.model(), tmp_path / "own"))
    state = load_file(own / "model.safetensors")
    state["shared.weight"] = state["shared.weight"].double().fill_(1e300)
    save_file(state, own / "model.safetensors", {"format": "pt"})
    with pytest.raises(MismatchError, match=r"own: 'shared\.weight' holds numbers too large"):
        load_weights(str(own))
