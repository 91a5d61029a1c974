"""Every recipe of the repository is read, expanded, and each of its command lines parsed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from talos_cli.commands.run import _checker
from talos_engine.errors import RecipeError
from talos_engine.experiments.expansion import expand
from talos_engine.experiments.paper import PaperTable
from talos_engine.experiments.reading import read_recipe
from talos_engine.experiments.running import Prepared, RunRequest, prepare
from talos_engine.experiments.steps import ChosenWord
from talos_engine.experiments.summing import check_results, compute

RECIPES = Path(__file__).parents[2] / "recipes"
TINY = sorted((RECIPES / "tiny").glob("*.toml"))
TINY_T5 = sorted((RECIPES / "tiny-t5").glob("*.toml"))
PAPER = sorted((RECIPES / "paper").glob("*.toml"))
PARTS = {"base", "posthoc"}  # what others include
# The paper's tables and figures, by the recipe that makes them.
COMPLETE = {
    "table1": {"task-addition", "addition-search"},
    "table2": {"task-negation", "post-hoc-values", "negation-search", "control-search"},
    "table3": {"cost", "calibration-cost"},
    "table4": {"checkpointed-addition", "checkpointed-negation"},
    "table5": {"merging-schemes"},
    "fig1-10-11": {"pruned", "perturbed", "mask-overlap"},
    "fig2": {"disentanglement"},
    "fig3": {"localization"},
    "fig4-5": {"mask-structure"},
    "bound": {"bound"},
    "fig6": {"linearization"},
    "fig7": {"drift"},
    "fig8": {"sparsity-addition", "sparsity-negation"},
    "fig9": {"single-task"},
}
OF_T5 = {"table1", "table2", "table3", "table5", "fig2", "fig3"}
APART = {"hyperparameters": {"tuned-values", "tuned-addition", "tuned-negation"}}  # not in all.toml


def prepared(path: Path, folder: Path, **settings: Any) -> Prepared:
    small = {"seeds": [0], **settings} if "small" not in path.name else settings
    return prepare(RunRequest(path, folder / "run", settings=small), _checker())


def name_of(path: Path) -> str:
    return path.stem.partition("-")[2] if path.parent.name == "paper" else path.stem


@pytest.mark.parametrize(
    "path", [*TINY, *TINY_T5, *PAPER], ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_every_recipe_is_fit_to_run(path: Path, tmp_path: Path) -> None:
    found = prepared(path, tmp_path)
    assert bool(found.plan.steps) == (name_of(path) != "posthoc")  # whose steps are of a part
    assert found.plan.done == frozenset()
    assert bool(found.expansion.results) == (name_of(path) not in PARTS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", COMPLETE | APART)
@pytest.mark.parametrize("scale", ["tiny/", "paper/vit-"])
def test_every_table_and_figure_has_a_recipe(name: str, scale: str, tmp_path: Path) -> None:
    found = prepared(RECIPES / f"{scale}{name}.toml", tmp_path)
    assert {plan.table.name for plan in found.expansion.results} == (COMPLETE | APART)[name]


@pytest.mark.parametrize("name", sorted(OF_T5 | APART.keys()))
@pytest.mark.parametrize("scale", ["tiny-t5/", "paper/t5-"])
def test_every_table_and_figure_of_t5_has_a_recipe(name: str, scale: str, tmp_path: Path) -> None:
    """Table 4, calibration with training, the paper has for CLIP alone."""
    found = prepared(RECIPES / f"{scale}{name}.toml", tmp_path)
    expected = (COMPLETE | APART)[name] - {"calibration-cost"}
    assert {plan.table.name for plan in found.expansion.results} == expected
    for step in found.plan.steps.values():
        if step.command in ("finetune", "add", "negate"):
            assert step.outputs["out"].endswith(".ckpt"), "a checkpoint of T5 is a folder"


WITH_POSTHOC = [
    path
    for path in [*TINY, *TINY_T5, *PAPER]
    if "posthoc" in read_recipe(path).settings and name_of(path) not in PARTS
]


@pytest.mark.parametrize("path", WITH_POSTHOC, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_post_hoc_methods_can_be_left_out(path: Path) -> None:
    def methods(*wanted: str) -> set[str]:
        settings = {"seeds": [0], "posthoc": list(wanted)}
        found = expand(read_recipe(path, settings))
        assert found.results
        return {it.variables["method"] for it in found.steps.values()
                if it.group.startswith("posthoc")}  # fmt: skip

    assert methods("ties", "dare") == {"ties", "dare"}
    assert methods() == set()


def test_recipes_with_post_hoc_methods_are_found() -> None:
    names = {f"{path.parent.name}/{path.stem}" for path in WITH_POSTHOC}
    assert names >= {"tiny/all", "tiny/fig9", "paper/vit-fig9", "tiny-t5/table2"}


def test_learning_rates_of_tiny_t5_are_settings(tmp_path: Path) -> None:
    path = RECIPES / "tiny-t5" / "base.toml"
    rates = prepared(path, tmp_path).recipe.settings["lr"]
    steps = prepared(path, tmp_path, lr={**rates, "talos": 0.25}).plan.steps
    for name, rate in (("talos", "0.25"), ("nonlinear", str(rates["nonlinear"]))):
        words = steps[f"train.{name}.facts.0"].words
        assert words[words.index("--lr") + 1] == rate


@pytest.mark.parametrize("path", ["tiny/all.toml", "paper/vit-all.toml", "tiny-t5/all.toml"])
def test_one_recipe_makes_everything_and_trains_nothing_twice(path: str, tmp_path: Path) -> None:
    found = prepared(RECIPES / path, tmp_path)
    names = {plan.table.name for plan in found.expansion.results}
    wanted = OF_T5 if "t5" in path else COMPLETE.keys()
    expected = set().union(*(COMPLETE[name] for name in wanted))
    assert names == expected - ({"calibration-cost"} if "t5" in path else set())
    lines = [tuple(step.shown()[:-2]) for step in found.plan.steps.values()
             if step.command == "finetune" and step.group == "train"]  # fmt: skip
    assert len(set(lines)) == len(lines) > 0


@pytest.mark.parametrize("scale", ["tiny/", "tiny-t5/", "paper/vit-"])
def test_post_hoc_methods_use_one_choice_per_task_for_addition_and_negation(
    scale: str, tmp_path: Path
) -> None:
    found = prepared(RECIPES / f"{scale}all.toml", tmp_path)
    steps, tasks = found.plan.steps, found.recipe.settings["tasks"]
    for method in ("ties", "consensus", "dare", "breadcrumbs"):
        choices = [f"posthoc-choice.{method}.{task}.0" for task in tasks]
        merge = steps[f"posthoc-merge.{method}.0"]
        assert [it.path for it in merge.words if isinstance(it, ChosenWord)] == [
            steps[choice].outputs["out"] for choice in choices
        ]
        vectors = [it for it in merge.words if str(it).startswith("artifacts/vector/")]
        assert vectors == [f"artifacts/vector/nonlinear.{task}.0.vector.safetensors"
                           for task in tasks]  # fmt: skip
        for task, name in zip(tasks, choices, strict=True):
            choice = steps[name]
            assert choice.choice is not None
            assert all(path.endswith(".search.json") and variables["task"] == task
                       for path, variables in choice.choice.reports)  # fmt: skip
            assert choice.outputs["negated"] in steps[f"test-negated.{method}.{task}.0"].inputs
            alone = steps[f"posthoc-alone.{method}.{task}.0"]
            assert name in alone.needs
            given = sum(isinstance(word, ChosenWord) for word in alone.words)
            assert given == 1 + sum(word == "--with" for word in alone.words)


def test_hyper_parameters_are_chosen_for_every_task_and_their_vector_is_used(
    tmp_path: Path,
) -> None:
    found = prepared(RECIPES / "tiny" / "hyperparameters.toml", tmp_path)
    steps, settings = found.plan.steps, found.recipe.settings
    for method, values in settings["tuned_values"].items():
        merge = steps[f"tuned-merge.{method}.0"]
        for task in settings["tasks"]:
            choice = steps[f"tuned-choice.{method}.{task}.0"]
            assert choice.choice is not None
            assert [variables["value"] for _, variables in choice.choice.reports] == values
            assert choice.outputs["vector"] in merge.words
            negated = steps[f"tuned-test-negated.{method}.{task}.0"]
            assert negated.words[0] == choice.outputs["negated"]
            for value in values:
                run = "tuned-low-rank" if method == "l-lora" else "tuned-sparse"
                trained = steps[f"{run}.{method}.{value}.{task}.0"]
                given = (
                    trained
                    if method == "l-lora"
                    else steps[f"tuned-mask.{method}.{value}.{task}.0"]
                )
                flag = "--rank" if method == "l-lora" else "--sparsity"
                assert given.words[given.words.index(flag) + 1] == str(value)


@pytest.mark.parametrize(
    ("path", "models", "beside"),
    [
        ("paper/vit-table3", {}, {"cost": "ViT-B-32"}),
        ("paper/vit-table3", {"model": "ViT-L-14"}, {"calibration-cost": "ViT-L-14"}),
        ("paper/vit-table3", {"model": "ViT-L-14", "paper_model": "ViT-L-14"},
         {"cost": "ViT-L-14", "calibration-cost": "ViT-L-14"}),
        ("paper/vit-table3", {"model": "ViT-B-16", "paper_model": "ViT-B-16"}, {}),
        ("paper/vit-table4", {}, {}),
        ("paper/vit-table5", {"model": "ViT-L-14", "paper_model": "ViT-L-14"}, {}),
        ("paper/t5-table3", {}, {}),
        ("paper/t5-table3", {"model": "google-t5/t5-large", "paper_model": "t5-large"},
         {"cost": "t5-large"}),
        ("tiny/table3", {"cost_model": "ViT-L-14"},
         {"cost": "ViT-L-14", "calibration-cost": "ViT-L-14"}),
    ],
)  # fmt: skip
def test_the_papers_costs_stand_beside_those_of_its_model(
    path: str, models: dict[str, str], beside: dict[str, str], tmp_path: Path
) -> None:
    found = expand(read_recipe(RECIPES / f"{path}.toml", {"seeds": [0], **models}))
    check_results(found.results)
    told = {it.name: compute(tmp_path, it, frozenset())["paper"] for it in found.results}
    assert {name: paper["model"] for name, paper in told.items() if paper} == beside
    assert all("measured" not in paper for paper in told.values() if paper)


@pytest.mark.parametrize("path", ["paper/vit-table3", "paper/t5-table3"])
def test_costs_are_measured_as_models_are_trained(path: str) -> None:
    steps = expand(read_recipe(RECIPES / f"{path}.toml", {"dtype": "float16"})).steps
    for step in steps.values():
        assert step.command == "profile"
        for option, value in (
            ("--dtype", "float16"),
            ("--batch-size", "128" if "vit" in path else "64"),
        ):
            assert step.words[step.words.index(option) + 1] == value


@pytest.mark.parametrize(
    ("path", "settings"),
    [("tiny/fig2", "first, pairs, tasks"), ("tiny/fig7", "drift_tasks, tasks")],
)
def test_tasks_that_do_not_go_together_are_named_with_their_settings(
    path: str, settings: str
) -> None:
    recipe = read_recipe(RECIPES / f"{path}.toml", {"tasks": ["shapes", "textures"]})
    with pytest.raises(RecipeError, match="task must be digits, and there is shapes") as told:
        expand(recipe)
    assert f"the settings {settings}:" in str(told.value.hint)


def test_no_step_searches_on_test_data(tmp_path: Path) -> None:
    """Searches read validation data by themselves; no evaluation of test data feeds a step."""
    steps = prepared(RECIPES / "tiny" / "all.toml", tmp_path).plan.steps
    evaluated = {path for step in steps.values() if step.command in ("evaluate", "disentangle")
                 for path in step.outputs.values()}  # fmt: skip
    assert evaluated
    assert not any(path in evaluated for step in steps.values() for path in step.inputs)


@pytest.mark.parametrize(
    "name", ["ViT-B-32", "ViT-B-16", "ViT-L-14", "t5-small", "t5-base", "t5-large"]
)
def test_the_paper_has_numbers_for_the_models_that_recipes_name(name: str) -> None:
    assert PaperTable("task_addition", name).share("talos", "absolute") is not None


@pytest.mark.parametrize("scale", ["tiny/", "tiny-t5/", "paper/vit-", "paper/t5-"])
def test_curves_of_searches_are_results_with_and_without_post_hoc_methods(
    scale: str, tmp_path: Path
) -> None:
    for name, result in (("table1", "addition-search"), ("table2", "control-search")):
        for more in ({}, {"posthoc": []}):
            found = prepared(RECIPES / f"{scale}{name}.toml", tmp_path, **more)
            plan = next(it for it in found.expansion.results if it.table.name == result)
            methods = {it.step.variables["method"] for it in plan.sources["searches"]}
            settings = found.recipe.settings
            assert methods == {*settings["methods"], *settings["posthoc"]}
            assert all(it.path.endswith(".search.json") for it in plan.sources["searches"])
