"""Changes the totals of an objective, to watch or disturb a training."""

from framecast.models.training.objectives import Objective


class Changed(Objective):
    """Returns `change(totals, model, batch, step, training)` in place of an objective's totals."""

    def __init__(self, objective, change):
        self._objective = objective
        self._change = change
        self.weights = objective.weights

    def counts(self, model, batch):
        return self._objective.counts(model, batch)

    def totals(self, model, batch, step, training):
        totals = self._objective.totals(model, batch, step, training)
        return self._change(totals, model, batch, step, training)
