"""Census-Income (KDD), in the two task groups of the MMoE paper."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import pyarrow as pa

from polytask.data.catalog._base import Dataset, Declared, Parts, binary, categorical, numeric
from polytask.data.catalog._sources import Source
from polytask.data.catalog._tables import cut, flag, known, read_text, to_missing, to_numbers
from polytask.errors import ConfigError, message

_UCI = "https://archive.ics.uci.edu/ml/machine-learning-databases/census-income-mld"
_MIRROR = "https://raw.githubusercontent.com"

_COLUMNS = (
    *("age", "class_worker", "det_ind_code", "det_occ_code", "education", "wage_per_hour", "hs_college", "marital_stat"),
    *("major_ind_code", "major_occ_code", "race", "hisp_origin", "sex", "union_member", "unemp_reason", "full_or_part_emp"),
    *("capital_gains", "capital_losses", "stock_dividends", "tax_filer_stat", "region_prev_res", "state_prev_res"),
    *("det_hh_fam_stat", "det_hh_summ", "instance_weight", "mig_chg_msa", "mig_chg_reg", "mig_move_reg", "mig_same"),
    *("mig_prev_sunbelt", "num_emp", "fam_under_18", "country_father", "country_mother", "country_self", "citizenship"),
    *("own_or_self", "vet_question", "vet_benefits", "weeks_worked", "year", "income_50k"),
)
_NUMBERS = ("age", "wage_per_hour", "capital_gains", "capital_losses", "stock_dividends", "num_emp", "weeks_worked")
_WITH_MISSING = (
    *("mig_chg_msa", "mig_chg_reg", "mig_move_reg", "mig_prev_sunbelt", "state_prev_res"),
    *("country_father", "country_mother", "country_self"),
)
_LABEL_COLUMNS = ("education", "marital_stat", "income_50k")
_OWN_COLUMNS = {1: ("income_50k", "marital_stat"), 2: ("education", "marital_stat")}
_COLLEGE = (
    "Associates degree-occup /vocational",
    "Associates degree-academic program",
    "Bachelors degree(BA AB BS)",
    "Masters degree(MA MS MEng MEd MSW MBA)",
    "Prof school degree (MD DDS DVM LLB JD)",
    "Doctorate degree(PhD EdD)",
)
_MAIN = {1: "income", 2: "college"}
_INCOMES = ("- 50000.", "50000+.")
HALVES_SEED = 0
"""Cuts the official test file into validation and test, 1:1; the paper's own cut is not published."""


@final
@dataclass(frozen=True, kw_only=True)
class CensusIncome(Dataset):
    """Census-Income (KDD): income or college, each with never married; the tabular benchmark of the MMoE paper.

    Args:
        group: 1 predicts income above 50,000 and never married; 2 predicts college (Associates degree or higher) and never
            married.
        inputs: "paper" takes all three columns that labels are made of out of the inputs, in both groups; "own" takes out only
            those of the group itself, so that group 1 has education and group 2 has income. The first is the paper's set-up;
            published numbers near .957 for income belong to the second. The instance weight is an input in neither.

    Raises:
        ConfigError: If there is no such group or set of inputs.
    """

    group: int = 1
    inputs: str = "paper"

    title = "Census-Income (KDD): US census 1994-1995, the data of the MMoE paper"
    homepage = "https://archive.ics.uci.edu/dataset/117/census+income+kdd"
    folder = "census-income"
    licence = "CC BY 4.0"
    citation = "Lane and Kohavi, Census-Income (KDD), UCI Machine Learning Repository, 2000. Task groups: Ma et al., KDD 2018."
    split = "Official training file; the official test file cut 1:1 into validation and test by a fixed seed, as in the paper."
    size = "199,523 train, 49,881 valid, 49,881 test"
    traps = (
        "instance_weight says how many people a row stands for; it is no input and is left out.",
        "NA is a value of hisp_origin, not a missing one; '?' is missing in eight columns only.",
        "Industry, occupation, own_or_self, vet_benefits and year are codes: categories, not quantities.",
        "tax_filer_stat and the household columns nearly tell marital status, hence its AUC above .99.",
    )

    def __post_init__(self) -> None:
        if self.group not in _MAIN:
            raise ConfigError(message("Census-Income has the task groups 1 and 2.", received=self.group))
        if self.inputs not in ("paper", "own"):
            raise ConfigError(message("Census-Income has the inputs 'paper' and 'own'.", received=repr(self.inputs)))

    @property
    def sources(self) -> tuple[Source, ...]:
        """The two official files."""
        data = "mnijhuis-dnb/AI_methods_in_economics_and_finance_research/459848ac5bd4b9a252a1619a67b1535dcbb9ad17/data"
        test = "drawbridge/keras-mmoe/2718f56e4313716fd3a86e9510bc2df0cc366238/data"
        return (
            Source(
                "census-income.data",
                "3676a81db7d3528f3f8b9f3c699d0f0aa28db45e6e994fa0b8ed38327539ee86",
                103_874_469,
                (f"{_UCI}/census-income.data.gz", f"{_MIRROR}/{data}/census-income.data.bz2"),
            ),
            Source(
                "census-income.test",
                "98402b1ab879573d0a7f38a699a40258080e25e33d3401e7bf9c96d3fa0fab8c",
                51_918_813,
                (f"{_UCI}/census-income.test.gz", f"{_MIRROR}/{test}/census-income.test.gz"),
            ),
        )

    @property
    def tasks(self) -> tuple[Declared, ...]:
        """The main task of the group first."""
        return binary(_MAIN[self.group]), binary("never_married")

    @property
    def features(self) -> tuple[Declared, ...]:
        """The 38 columns of the paper, 7 numbers and 31 categories; with "own" inputs one category more."""
        nominal = [name for name in _COLUMNS if name not in _NUMBERS + self._left_out]
        return *numeric(*_NUMBERS), *categorical(*nominal)

    def parts(self, files: Mapping[str, Path]) -> Parts:
        """Training rows in the order of the file; the halves of the test file in its order too."""
        train, rest = (self._read(files[f"census-income.{end}"]) for end in ("data", "test"))
        valid, test = cut(rest.num_rows, (0.5, 0.5), seed=HALVES_SEED)
        return {"train": [train], "valid": [rest.take(valid)], "test": [rest.take(test)]}

    @property
    def _left_out(self) -> tuple[str, ...]:
        return "instance_weight", *(_LABEL_COLUMNS if self.inputs == "paper" else _OWN_COLUMNS[self.group])

    def _read(self, path: Path) -> pa.Table:
        table = to_missing(to_numbers(read_text(path, _COLUMNS), _NUMBERS, pa.int32()), _WITH_MISSING)
        labels = {
            "income": flag(known(table, "income_50k", _INCOMES), _INCOMES[1:]),
            "college": flag(table["education"], _COLLEGE),
            "never_married": flag(table["marital_stat"], ("Never married",)),
        }
        for task in self.tasks:
            table = table.append_column(task["name"], labels[task["name"]])
        return table.drop_columns(list(self._left_out))
