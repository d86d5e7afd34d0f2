"""Declared runs: TOML to a bound configuration, every mistake at once, every default derived from a signature."""

from polytask.config._config import FREE, RunConfig, differences, places
from polytask.config._families import FACTORIES, FAMILIES
from polytask.config._methods import Method, argument_texts, first_line, options_model
from polytask.config._read import parse_config, read_config
from polytask.config._schema import json_schema
from polytask.config._sections import CalibrationSection, DataSection, FeaturesSection, SplitSection, TrainSection
from polytask.config._trial import bias_columns

__all__ = [
    "FACTORIES",
    "FAMILIES",
    "FREE",
    "CalibrationSection",
    "DataSection",
    "FeaturesSection",
    "Method",
    "RunConfig",
    "SplitSection",
    "TrainSection",
    "argument_texts",
    "bias_columns",
    "differences",
    "first_line",
    "json_schema",
    "options_model",
    "parse_config",
    "places",
    "read_config",
]
