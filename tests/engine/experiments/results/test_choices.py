from __future__ import annotations

from typing import Any

import pytest

from talos_engine.errors import CorruptFileError


def chosen(source: Any, value: Any, method: str, task: str, seed: int) -> Any:
    content = {"command": "choose", "chosen": value}
    return source(content, method=method, task=task, seed=seed)


def test_by_hand(compute: Any, source: Any) -> None:
    files = [
        chosen(source, 0.9, "talos", "a", 0), chosen(source, 0.5, "talos", "a", 1),
        chosen(source, 0.9, "talos", "b", 0), chosen(source, 0.9, "talos", "b", 1),
        chosen(source, 16, "l-lora", "b", 0),
    ]  # fmt: skip
    result = compute("choices", {"choices": files})
    assert [it["label"] for it in result["columns"]] == ["a", "b"]
    talos, lora = result["rows"]
    assert (talos["label"], lora["label"]) == ("talos", "l-lora")
    assert talos["cells"]["a"]["mean"] == pytest.approx(0.7)
    assert talos["cells"]["a"]["note"] == "chosen: 0.9, 0.5"
    assert talos["cells"]["b"]["values"] == [0.9, 0.9]
    assert "note" not in talos["cells"]["b"]
    assert set(lora["cells"]) == {"b"}
    assert lora["cells"]["b"]["mean"] == 16


def test_words_have_no_mean(compute: Any, source: Any) -> None:
    result = compute("choices", {"choices": [chosen(source, "row", "ties", "a", 0)]})
    cell = result["rows"][0]["cells"]["a"]
    assert (cell["mean"], cell["note"]) == (None, "row")


def test_a_file_that_holds_no_choice(compute: Any, source: Any) -> None:
    for content in ({"command": "evaluate", "chosen": 1}, {"command": "choose"}, []):
        with pytest.raises(CorruptFileError, match="holds no choice"):
            compute("choices", {"choices": [source(content, method="x", task="a")]})
