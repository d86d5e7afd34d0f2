# `make check` is what CI runs: format, lint, types, tables, tests.
.PHONY: check format tables
check:
	./go test

format:
	./go ruff format .
	./go ruff check --fix .

tables:
	./go python benchmarks/tables.py
