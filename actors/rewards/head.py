"""The head of the learned judge: from features of a completion to a score, and how it is fitted.

Linear, on standardised features. It is fitted on pairs of one question, a better and a worse
completion, by logistic regression on their difference (Bradley and Terry 1952) with a penalty on
the weights. How strong that is, is what ranks best the pairs that are left out, all of a template
at once. The score is calibrated on those (Platt 1999): the probability that a completion beats a
middling one.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize

from configs.errors import InputError

FOLDS = 6
NEWTON_STEPS = 30
RIDGES = (3.0, 10.0)  # penalties that are tried
SHARE = 0.1  # of a standard deviation, that each of the many features of states is scaled to


ARRAYS = ("mean", "std", "weights")


@dataclass(frozen=True)
class Head:
    """F = features. `model` names whose features they are."""

    model: str
    mean: np.ndarray  # [F]
    std: np.ndarray  # [F]
    weights: np.ndarray  # [F]
    scale: float
    middle: float  # the margin of a middling completion
    ranked: float  # share of the pairs it was fitted to that were ranked right when left out

    @property
    def version(self) -> str:
        """A hash of all that a score depends on besides the features."""
        digest = hashlib.sha256(self.model.encode())
        for part in (self.mean, self.std, self.weights, [self.scale, self.middle]):
            digest.update(np.asarray(part, np.float64).tobytes())
        return digest.hexdigest()[:16]

    def margins(self, features: np.ndarray) -> np.ndarray:
        """[N] of features [N, F]: higher is better."""
        return ((features - self.mean) / self.std) @ self.weights

    def scores(self, features: np.ndarray) -> np.ndarray:
        """[N], 0 to 1."""
        return _sigmoid(self.scale * (self.margins(features) - self.middle))

    def save(self, path: Path) -> None:
        """By rename."""
        unfinished = path.with_suffix(".tmp.npz")
        kept: dict[str, Any] = {f.name: np.asarray(getattr(self, f.name)) for f in fields(self)}
        np.savez(unfinished, **kept)
        unfinished.replace(path)

    @staticmethod
    def load(path: Path) -> "Head":
        """Raises InputError."""
        try:
            with np.load(path) as kept:
                numbers = (float(kept[name]) for name in ("scale", "middle", "ranked"))
                return Head(str(kept["model"]), *(kept[x] for x in ARRAYS), *numbers)
        except (OSError, KeyError, ValueError) as error:
            raise InputError(
                f"judge.head = {path}: no head of a learned judge ({error}); "
                "launch.py judge --fit writes one"
            ) from error


def fit_head(
    model: str, better: np.ndarray, worse: np.ndarray, groups: Sequence[str], states: int = 0
) -> Head:
    """From features [N, F] of pairs. `groups`: pairs of one template are left out together.
    `states`: so many features, the first ones, are of mean states."""
    everything = np.concatenate([better, worse])
    mean, std = everything.mean(axis=0), everything.std(axis=0) + 1e-6
    names = sorted(set(groups))
    fold_of = {name: number % FOLDS for number, name in enumerate(names)}
    folds = np.array([fold_of[group] for group in groups])
    tried = []
    scales = np.where(np.arange(len(std)) < states, SHARE, 1.0) / std
    for ridge in RIDGES:
        margins = _left_out((better - worse) * scales, folds, ridge)
        tried.append((float((margins > 0).mean()), margins, ridge))
    ranked, left_out, ridge = max(tried, key=lambda one: one[0])
    weights = _logistic((better - worse) * scales, ridge)
    middle = float(np.median(((everything - mean) * scales) @ weights))
    return Head(model, mean, 1 / scales, weights, _platt(left_out), middle, ranked)


def _left_out(differences: np.ndarray, folds: np.ndarray, ridge: float) -> np.ndarray:
    """[N] margins of pairs by weights that were fitted to the other folds."""
    margins = np.zeros(len(differences))
    for held in (folds == fold for fold in range(FOLDS)):
        if held.any() and not held.all():
            margins[held] = differences[held] @ _logistic(differences[~held], ridge)
    return margins


def _logistic(differences: np.ndarray, ridge: float) -> np.ndarray:
    """The weights w with least sum of log(1 + exp(-X w)) + ridge / 2 |w|^2."""

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margins = differences @ weights
        value = np.logaddexp(0, -margins).sum() + ridge / 2 * weights @ weights
        return value, ridge * weights - differences.T @ _sigmoid(-margins)

    start = np.zeros(differences.shape[1])
    return minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 100}).x


def _platt(margins: np.ndarray) -> float:
    """The scale with which sigmoid(scale * margin) is how often the better one of a pair wins.

    By Newton's method; Platt's target just below 1 keeps it finite.
    """
    target, scale = 1 - 1 / (len(margins) + 2), 1.0
    for _ in range(NEWTON_STEPS):
        p = _sigmoid(scale * margins)
        gradient = ((p - target) * margins).sum()
        curvature = (p * (1 - p) * margins**2).sum() + 1e-9
        scale = max(scale - gradient / curvature, 1e-3)
    return float(scale)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -60, 60)))
