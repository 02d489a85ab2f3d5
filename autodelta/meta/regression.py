"""The regression of tasks' levels on their features, judged on families of tasks left out."""

from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, cross_val_predict

from autodelta.meta.level import Levels
from autodelta.meta.problem import Floats

PENALTIES = np.logspace(0, 4, 9)
FOLDS = 10
LEAST_SD = (1e-9, 1e-3)  # of the offset, and of the log scale


def levels_by_features(levels: Floats, features: Floats, families: Sequence[str]) -> Levels:
    """Ridge regressions; a constant, the mean over tasks, where features foretell no more.

    Args:
        levels: (tasks, 2) offsets and log scales.
        features: (tasks, features) on one scale.
        families: (tasks,) tasks of one family are left out together.
    """
    mean, sd = levels.mean(axis=0), np.maximum(levels.std(axis=0), LEAST_SD)
    at_zero, error, weights = mean.copy(), sd.copy(), np.zeros((features.shape[1], 2))
    number = min(FOLDS, len(set(families)))
    if number > 1 and features.shape[1]:
        cuts = list(GroupKFold(number).split(features, groups=families))
        foretold = np.stack([cross_val_predict(Ridge(alpha=alpha), features, levels, cv=cuts) for alpha in PENALTIES])
        errors = np.sqrt(((foretold - levels) ** 2).mean(axis=1))  # (penalties, 2)
        for column, best in enumerate(errors.argmin(axis=0)):
            if errors[best, column] < sd[column]:
                fitted = Ridge(alpha=PENALTIES[best]).fit(features, levels[:, column])
                at_zero[column], weights[:, column] = fitted.intercept_, fitted.coef_
                error[column] = errors[best, column]
    return Levels(mean, sd, at_zero, weights, error)
