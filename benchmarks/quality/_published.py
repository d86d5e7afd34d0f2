"""Published tables that stand beside ours."""

# Ma et al., KDD 2018, tables 1 and 2: AUC of the best of 400 runs (by the main task) and mean of 400; no deviations are printed.
MMOE_PAPER = {
    ("census1", "income"): {
        "single_task": (0.9398, 0.9337),
        "shared_bottom": (0.9361, 0.9295),
        "soft_sharing": (0.9389, 0.9359),
        "cross_stitch": (0.9406, 0.9361),
        "tensor_factorization": (0.7460, 0.6765),
        "omoe": (0.9387, 0.9319),
        "mmoe": (0.9410, 0.9359),
    },
    ("census1", "never_married"): {
        "single_task": (0.9933, 0.9922),
        "shared_bottom": (0.9915, 0.9921),
        "soft_sharing": (0.9922, 0.9918),
        "cross_stitch": (0.9917, 0.9922),
        "tensor_factorization": (0.8175, 0.8412),
        "omoe": (0.9928, 0.9923),
        "mmoe": (0.9926, 0.9927),
    },
    ("census2", "college"): {
        "single_task": (0.8843, 0.8792),
        "shared_bottom": (0.8836, 0.8813),
        "soft_sharing": (0.8855, 0.8823),
        "cross_stitch": (0.8855, 0.8819),
        "tensor_factorization": (0.7367, 0.7256),
        "omoe": (0.8852, 0.8813),
        "mmoe": (0.8860, 0.8826),
    },
    ("census2", "never_married"): {
        "single_task": (0.9933, 0.9922),
        "shared_bottom": (0.9927, 0.9917),
        "soft_sharing": (0.9923, 0.9918),
        "cross_stitch": (0.9919, 0.9921),
        "tensor_factorization": (0.7453, 0.7497),
        "omoe": (0.9915, 0.9912),
        "mmoe": (0.9932, 0.9924),
    },
}

# Tang et al., RecSys 2020, on group 1.
PLE_PAPER = {
    ("census1", "income"): {"single_task": 0.9445, "mmoe": 0.9393, "ple": 0.9522},
    ("census1", "never_married"): {"single_task": 0.9923, "mmoe": 0.9928, "ple": 0.9945},
}


def against(data: str, task: str, method: str) -> str:
    """What was published of the same method on the same task."""
    parts = []
    if method in MMOE_PAPER.get((data, task), {}):
        best, mean = MMOE_PAPER[data, task][method]
        parts.append(f"MMoE paper: {mean:.4f} mean, {best:.4f} best")
    if method in PLE_PAPER.get((data, task), {}):
        parts.append(f"PLE paper: {PLE_PAPER[data, task][method]:.4f}")
    return "; ".join(parts)
