"""Searches of ``add``: the coefficient of every model, and what a method tunes for each task."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from talos_engine.evaluation.accuracy import measure_accuracy
from talos_engine.evaluation.coefficients import coefficient_grid
from talos_engine.evaluation.editing import EditedEncoder, SearchResult, search_addition
from talos_engine.merging.spec import Combine, Merge, MergeContext, MergeEntry
from talos_engine.progress import Progress
from talos_engine.workflows.bases import check_encoder_only
from talos_engine.workflows.merging import DeferredParts, MergeInputs, materialize
from talos_engine.workflows.opening import Session
from talos_engine.workflows.vector import header_sparsity


@dataclass(frozen=True)
class FoundModel:
    """One model to write, and how it was chosen.

    Args:
        combine: Its difference to θ0.
        config: Configuration of the method that it was made with.
        coef: α.
        search: The search that chose α, where there was one.
    """

    combine: Combine
    config: Any
    coef: float = 1.0
    search: SearchResult | None = None


@dataclass(frozen=True)
class ModelSearch:
    """A search on validation data.

    Args:
        method: The merging method.
        config: Its configuration.
        given: Names of the options that were given, and so are not searched.
        inputs: The vectors, each of a task of its own, with weight 1.
        session: The model.
        context: What the method was given.
        grid: Kind of grid of coefficients.
        progress: Told how far the search is.
    """

    method: MergeEntry
    config: Any
    given: frozenset[str]
    inputs: MergeInputs
    session: Session
    context: MergeContext
    grid: str
    progress: Progress

    @property
    def recorded(self) -> list[str]:
        """Tasks of the vectors, in their order."""
        return [vector.header.task for vector in self.inputs.vectors]

    def find(self, merge: Merge, names: Sequence[str]) -> list[FoundModel]:
        """Every model with the coefficient that suits it best.

        Args:
            merge: What the method made.
            names: Tasks to search on; of one model per task, each is searched on its own.
        """
        if not self.method.one_model_per_task:
            return [self._find_one(merge, merge.models[0], self.config, names)]
        found = []
        for position, task in enumerate(self.recorded):
            config = self._tune(position, task)
            own = merge if config == self.config else self._merge(config)
            found.append(self._find_one(own, own.models[position], config, [task]))
        return found

    def _merge(self, config: Any) -> Merge:
        weights = [1.0] * len(self.inputs.vectors)
        return self.method.run(config, self.inputs.vectors, weights, self.context)

    def _tune(self, position: int, task: str) -> Any:
        """The configuration whose model of this task, at α = 1, is right most often.

        Of equally good ones the first; options that were given are kept.
        """
        data = self.session.evaluation_task(task, "val", evaluation=self.inputs.evaluation)
        encoder = EditedEncoder(self.session.backbone, self.session.runtime)
        config = self.config
        for name, values in self.method.tuned.items():
            if name in self.given:
                continue
            scores = []
            for done, value in enumerate(values):
                self.progress("tuning, " + task, done, len(values))
                tried = dataclasses.replace(config, **{name: value})
                change = materialize(self._merge(tried).models[position], self.inputs.names)
                check_encoder_only(change, self.session.backbone.structure, "a vector")
                encoder.set([(1.0, change)])
                scores.append(measure_accuracy(data, self.session.runtime).correct)
            self.progress("tuning, " + task, len(values), len(values))
            best = values[scores.index(max(scores))]
            config = dataclasses.replace(config, **{name: best})
        encoder.reset()
        return config

    def _find_one(
        self, merge: Merge, combine: Combine, config: Any, names: Sequence[str]
    ) -> FoundModel:
        combined = materialize(combine, self.inputs.names)
        check_encoder_only(combined, self.session.backbone.structure, "a vector")
        sparsities = [header_sparsity(vector.header) for vector in self.inputs.vectors]
        parts = dict(zip(self.recorded, merge.parts, strict=True))
        search = search_addition(
            EditedEncoder(self.session.backbone, self.session.runtime),
            combined,
            DeferredParts(parts, self.inputs.names),
            [
                self.session.evaluation_task(name, "val", evaluation=self.inputs.evaluation)
                for name in names
            ],
            coefficient_grid(self.grid, sparsities),
            self.progress,
        )
        return FoundModel(combine, config, search.chosen.coef, search)
