"""Losses: functions of one row, and the one reduction over observed rows."""
