"""The anytime-valid t test of Lindon, Ham, Tingley and Bojinov (arXiv 2210.08589): exact for normal data only.

For comparison with other systems, nothing live depends on it: rates in a small arm break it as they break the plain
confidence sequence.
"""

import math

_GOLDEN = (math.sqrt(5) - 1) / 2


def t_log_e_value(t: float, df: float, r: float) -> float:
    """ln E = ln(r)/2 + (df + 1)/2 (ln(1 + t^2/df) - ln(1 + r t^2/df)), with r = g/(g + n)."""
    return 0.5 * math.log(r) + 0.5 * (df + 1) * (math.log1p(t * t / df) - math.log1p(r * t * t / df))


def t_radius(df: float, r: float, *, alpha: float = 0.05) -> float:
    """The |t| at which E reaches 1/alpha; infinite when no t does."""
    root: float = (r * alpha * alpha) ** (1 / (df + 1))
    return math.sqrt(df * (1 - root) / (root - r)) if root > r else math.inf


def t_tuning(n: int, df: float, *, alpha: float = 0.05) -> float:
    """The g whose radius is smallest at ``n`` observations, to nine digits."""
    low, high = math.log(1e-6), math.log(1e6)
    for _ in range(100):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        radii = [t_radius(df, math.exp(g) / (math.exp(g) + n), alpha=alpha) for g in (left, right)]
        # Where both are infinite the smaller g is the way back to finite ones.
        low, high = (low, right) if radii[0] <= radii[1] else (left, high)
    return math.exp((low + high) / 2)
