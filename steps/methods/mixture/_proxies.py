"""Proxy runs of a regression: what they mix, what they showed, and the mixture that their law finds best."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from steps.methods.mixture import Pilot
from steps.methods.mixture._groups import Groups
from steps.methods.mixture._log_linear import LogLinear
from steps.methods.mixture._sources import by_source

TRIES = 100  # draws for each mixture; the public code draws as many and keeps those within the caps


def drawn_mixtures(
    groups: Groups,
    high_G: np.ndarray,
    strengths: Sequence[float],
    flatten: float,
    min_share: float,
    random: np.random.Generator,
) -> list[np.ndarray]:
    """A mixture for each strength: Dirichlet around natural shares; tiny shares become 0, none is above its cap.

    Raises:
        ValueError: no draw keeps below the caps.
    """
    mean_G = groups.gathered(groups.natural) ** flatten
    found = []
    for strength in strengths:
        for _ in range(TRIES):
            share_G = random.dirichlet(strength * mean_G / mean_G.sum())
            share_G = np.where(share_G < min_share, 0.0, share_G) / share_G[share_G >= min_share].sum()
            if (share_G <= high_G).all():
                found.append(share_G)
                break
        else:
            raise ValueError(
                f"pilot: of {TRIES} mixtures none keeps every source below {high_G.round(3).tolist()}, what max_epochs "
                "lets it give to such a run; lower plan.mixture.pilot_part or land more text"
            )
    return found


@dataclass(frozen=True)
class Proxies:
    """What N runs showed of T tasks: shares of G groups, losses at the end, and the mean loss before."""

    tasks: tuple[str, ...]
    share_NG: np.ndarray  # noqa: N815
    loss_NT: np.ndarray  # noqa: N815
    start_T: np.ndarray  # noqa: N815

    @classmethod
    def of(cls, pilots: Sequence[Pilot], groups: Groups, *, held_out: bool) -> "Proxies":
        """The pilots that are fitted, or those that are held out."""
        tasks = tuple(sorted(set.intersection(*(set(pilot.losses) for pilot in pilots)))) if pilots else ()
        runs = [pilot for pilot in pilots if pilot.trial.held_out == held_out]
        share_NG = np.array([groups.gathered(by_source(run.trial.shares)) for run in runs])
        loss_NT = np.array([[run.losses[task][-1] for task in tasks] for run in runs])
        start_T = np.array([np.mean([run.losses[task][0] for run in pilots]) for task in tasks])
        shape = (len(runs), len(groups.names))
        return cls(tasks, share_NG.reshape(shape), loss_NT.reshape(len(runs), len(tasks)), start_T)

    def panel(self, law: LogLinear, unseen: "Proxies") -> dict[str, Any]:
        """A plot of predicted over measured losses."""
        edges = [float(self.loss_NT.min()), float(self.loss_NT.max())]
        points = [
            {"label": task, "x": x_N.tolist(), "y": y_N.tolist(), "held_out": part is unseen}
            for part in (self, unseen)
            for task, x_N, y_N in zip(self.tasks, part.loss_NT.T, law.losses(part.share_NG).T, strict=True)
        ]
        lines = [{"label": "equal", "x": edges, "y": edges}]
        title, x, y = "Predicted over measured loss", "measured, nats per token", "predicted, nats per token"
        return {"title": title, "x": x, "y": y, "lines": lines, "points": points, "marks": []}

    def held_out_rows(
        self, law: LogLinear, unseen: "Proxies", groups: Groups, tokens: int, roles: Mapping[str, str]
    ) -> list[dict[str, Any]]:
        """Prediction beside truth; `interpolated`: by losses linear in the shares."""
        linear_GT = np.linalg.lstsq(self.share_NG, self.loss_NT, rcond=None)[0]
        kind = {"train": "domain", "replay-only": "general"}
        return [
            {
                "group": kind.get(roles.get(task, ""), "domain"),
                "task": task,
                "ratio": sum(share for source, share in groups.spread(share_G).items() if source.startswith("new/")),
                "tokens": tokens,
                "start": float(self.start_T[column]),
                "actual": float(loss_T[column]),
                "predicted": float(law.losses(share_G[None])[0, column]),
                "interpolated": float(share_G @ linear_GT[:, column]),
            }
            for share_G, loss_T in zip(unseen.share_NG, unseen.loss_NT, strict=True)
            for column, task in enumerate(self.tasks)
        ]
