# `make check` is what CI runs: format, lint, types, pages, tests.
.PHONY: check format pages
check:
	./go test

format:
	./go ruff format .
	./go ruff check --fix .

pages:
	./go python docs/generate.py
	./go python benchmarks/tables.py
