"""Keep what moves the model's text towards the target most."""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from steps.core.method import Cite
from steps.methods.select import Choice, Pool
from steps.methods.select._shared import Ranked, sample_of

MIN_COST = 1e-12  # a mean cost below it: all texts lie in one place
MAX_ROUNDS = 2_000
TOLERANCE = 1e-7  # largest violation of the target's masses


class Transport(Ranked):
    """The documents along which the optimal-transport distance from general text to the target falls fastest.

    Rule:       score(x) = -(f(x) - mean_i f(x_i)): the rate at which OT(base, target) falls as mass moves from the
                base sample, evenly, to x. f(x) = -e log sum_j b_j exp((g_j - c(x, y_j)) / e), with g the target's dual
                potential of entropic transport, OT = min <P, c> + e KL(P | a b), and c the squared distance of unit
                embeddings (mean last hidden states of the parent). The highest are kept.
    Shapes:     base_ND, target_MD, candidates_KD float -> float64 [K]
    Units:      squared distance of unit vectors, 0..4; e = `regularisation` x the mean cost of base and target
    Differs:    the paper's embeddings, cost and solver were not verified. It takes the candidates themselves for the
                base's distribution (recalled; `base: candidates`); a general sample is what our buffer is for, and f is
                extended from it to candidates by its own optimality condition. Calibrated by the mean over the base
                sample, which changes no rank; LAVA (arXiv:2305.00054) leaves the point itself out of its mean.
    Reduces to: as `regularisation` grows, the distance from the target's mean: f(x) -> mean_j c(x, y_j) (close);
                `all` at keep_share = 1 (exact)
    """

    cite: ClassVar[Cite] = Cite(
        title="Get more for less: Principled Data Selection for Warming Up Fine-Tuning in LLMs",
        id="arXiv:2405.02774",
        where="abstract: nudge the pre-training distribution closer to the target; largest negative gradients of OT",
        checked="secondary",
    )

    base: Literal["general", "candidates"] = Field("general", description="whose texts stand for what the model knows")
    regularisation: float = Field(0.1, ge=0.01, description="entropic regularisation, share of the mean cost")
    base_documents: int = Field(500, ge=1, description="texts of the base sample, at most")
    target_documents: int = Field(500, ge=1, description="texts of the target, at most")

    def choose(self, pool: Pool, seed: int) -> Choice:
        """The documents of the most negative gradient."""
        own = [document.text for document in pool.documents]
        base = sample_of(own if self.base == "candidates" else pool.general(), self.base_documents, seed)
        target = sample_of(pool.target(), self.target_documents, seed)
        for texts, what, advice in (
            (target, f"validation items of {pool.task} as its target", "raise split.validation_share"),
            (base, "general text as its base", "land a replay-only task, or set base: candidates"),
        ):
            if not any(texts):
                raise ValueError(f"select.new: transport wanted {what}, found none; {advice}, or take another method")
        base_ND, target_MD = pool.lab.embeddings(base), pool.lab.embeddings(target)
        gradients_K, rounds = self.gradients(base_ND, target_MD, pool.lab.embeddings(own))
        told = f"base: {len(base):,} texts, target: {len(target):,}; {rounds}"
        return self.best(pool, -gradients_K, seed, reason="moves the base less", told=told)

    def gradients(self, base_ND: np.ndarray, target_MD: np.ndarray, own_KD: np.ndarray) -> tuple[np.ndarray, str]:
        """The calibrated gradient of each candidate, float64 [K], and how well the potentials converged.

        Raises:
            ValueError: the library is not there.
        """
        try:
            from ot.bregman import sinkhorn_log
        except ImportError as error:
            raise ValueError("select.new: transport needs POT; pip install 'perennial[transport]'") from error
        cost_NM = _costs(base_ND, target_MD)
        regularisation = self.regularisation * float(cost_NM.mean())
        if regularisation < MIN_COST:
            return np.zeros(len(own_KD)), "all of them lie in one place"
        masses_N, masses_M = (np.full(size, 1 / size) for size in cost_NM.shape)
        _, log = sinkhorn_log(
            masses_N, masses_M, cost_NM, regularisation, MAX_ROUNDS, stopThr=TOLERANCE, log=True, warn=False
        )
        log_v_M = log["log_v"]  # (g_j / e) + log b_j
        potential_K = _extended(_costs(own_KD, target_MD), log_v_M, regularisation)
        potential_N = _extended(cost_NM, log_v_M, regularisation)
        left = float(log["err"][-1])
        told = "converged" if left < TOLERANCE else f"not converged: masses off by {left:.1e}"
        return potential_K - potential_N.mean(), f"potentials {told} after {int(log['niter']) + 1:,} rounds"


def _costs(x_ND: np.ndarray, y_MD: np.ndarray) -> np.ndarray:
    """Squared distances, float64 [N, M]."""
    x_ND, y_MD = x_ND.astype(np.float64), y_MD.astype(np.float64)
    squares_NM = (x_ND**2).sum(axis=1)[:, None] + (y_MD**2).sum(axis=1)[None, :] - 2 * x_ND @ y_MD.T
    return np.asarray(np.maximum(squares_NM, 0.0))


def _extended(cost_KM: np.ndarray, log_v_M: np.ndarray, regularisation: float) -> np.ndarray:
    """The potential at any points, from that of the target: a soft minimum of cost less potential."""
    from scipy.special import logsumexp

    return np.asarray(-regularisation * logsumexp(log_v_M - cost_KM / regularisation, axis=1))
