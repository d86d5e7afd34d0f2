"""Label correlation of the synthetic data against Figure 2 of the MMoE paper: 100 trials of 10,000 rows at each cosine.

python benchmarks/quality/label_pearson.py
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from _record import record, row

from polytask.data.synthetic import CorrelatedRegression

# Ma et al. 2018, Figure 2, read from the drawing instructions: mean and two standard deviations of 100 trials.
PUBLISHED = {
    0.4: (0.0547, 0.0214),
    0.5: (0.0740, 0.0206),
    0.6: (0.0996, 0.0216),
    0.7: (0.1343, 0.0241),
    0.8: (0.1927, 0.0213),
    0.9: (0.3054, 0.0208),
    0.95: (0.4464, 0.0210),
    0.98: (0.6571, 0.0180),
    1.0: (0.9966, 0.0002),
}
TRIALS, ROWS = 100, 10_000


def trial(p: float, seed: int) -> tuple[float, float]:
    """Label correlation and mean label variance of one draw of weights and rows."""
    _, y = CorrelatedRegression(correlation=p, seed=seed).arrays(0, ROWS)
    return float(np.corrcoef(y.T)[0, 1]), float(y.var(0).mean())


def main() -> None:
    rows = []
    for p, (published, two_sd) in PUBLISHED.items():
        drawn = np.array([trial(p, seed) for seed in range(TRIALS)])
        mean, spread = drawn[:, 0].mean(), drawn[:, 0].std(ddof=1)
        half = 1.96 * spread / TRIALS**0.5
        note = f"{TRIALS} trials of {ROWS:,} rows; interval of the mean, normal"
        about = {"published": published, "closed_form": round(CorrelatedRegression(correlation=p).label_correlation, 4)}
        spreads = {"two_sd": round(2 * spread, 4), "published_two_sd": two_sd, "label_variance": round(drawn[:, 1].mean(), 3)}
        entry = row(f"cosine {p}", round(mean, 4), "Pearson", interval=(round(mean - half, 4), round(mean + half, 4)), note=note)
        rows.append(entry | about | spreads)
        print(rows[-1])
    record(
        "label_pearson", rows, title="Label correlation of ma2018_fig2 against Figure 2 of the MMoE paper", seeds=range(TRIALS)
    )


if __name__ == "__main__":
    main()
