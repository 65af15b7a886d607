"""The head of the learned judge: from features of a completion to a score, and how it is fitted.

Linear, on standardised features. It is fitted on pairs of one question, a better and a worse
completion, by ridge regression of their difference onto 1 (as a least-squares support vector
machine would), and calibrated by logistic regression (Platt 1999) on pairs that were left out:
the score is the probability that a completion beats a middling one.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from configs.errors import InputError

FOLDS = 6
NEWTON_STEPS = 30


@dataclass(frozen=True)
class Head:
    """F = features. `model` names whose features they are."""

    model: str
    mean: np.ndarray  # [F]
    std: np.ndarray  # [F]
    weights: np.ndarray  # [F]
    scale: float
    middle: float  # the margin of a middling completion

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
        np.savez(
            unfinished,
            model=np.array(self.model),
            mean=self.mean,
            std=self.std,
            weights=self.weights,
            scale=self.scale,
            middle=self.middle,
        )
        unfinished.replace(path)

    @staticmethod
    def load(path: Path) -> "Head":
        """Raises InputError."""
        try:
            with np.load(path) as kept:
                return Head(
                    str(kept["model"]),
                    kept["mean"],
                    kept["std"],
                    kept["weights"],
                    float(kept["scale"]),
                    float(kept["middle"]),
                )
        except (OSError, KeyError, ValueError) as error:
            raise InputError(
                f"judge.head = {path}: no head of a learned judge ({error}); "
                "launch.py judge --fit writes one"
            ) from error


def fit_head(
    model: str,
    better: np.ndarray,
    worse: np.ndarray,
    groups: Sequence[str],
    ridge: float,
) -> Head:
    """From features [N, F] of pairs. `groups`: pairs of one template are left out together."""
    everything = np.concatenate([better, worse])
    mean, std = everything.mean(axis=0), everything.std(axis=0) + 1e-6
    differences = (better - worse) / std
    out_of_fold = np.empty(len(differences))
    names = sorted(set(groups))
    fold_of = {name: number % FOLDS for number, name in enumerate(names)}
    folds = np.array([fold_of[group] for group in groups])
    for fold in range(FOLDS):
        held = folds == fold
        if held.any() and not held.all():
            out_of_fold[held] = differences[held] @ _ridge(differences[~held], ridge)
    weights = _ridge(differences, ridge)
    margins = ((everything - mean) / std) @ weights
    return Head(model, mean, std, weights, _platt(out_of_fold), float(np.median(margins)))


def _ridge(differences: np.ndarray, ridge: float) -> np.ndarray:
    """The weights w with least |X w - 1|^2 + ridge |w|^2, by the kernel: rows may be fewer."""
    kernel = differences @ differences.T
    ones = np.ones(len(differences))
    return differences.T @ np.linalg.solve(kernel + ridge * np.eye(len(kernel)), ones)


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
