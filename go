#!/bin/sh
# Makes ./.venv on first use, then runs a command in it.
#   ./go train examples/runs/feed.toml    any verb of polytask
#   ./go test                             format, lint, types, pages, tests: what CI runs; with arguments, pytest alone
# On Linux it takes a CPU build of PyTorch where one can be had; TORCH=default ./go ... takes the default build (CUDA).
# PYTHON=... names the interpreter, VENV=... the environment, EXTRAS=test,bench what is installed beside the core.
set -eu
cd "$(dirname "$0")"
venv=${VENV:-.venv} torch=2.13.0 extras=${EXTRAS:-test}

supported='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))'
find_python() {
  for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python; do
    if command -v "$candidate" >/dev/null 2>&1 && "$candidate" -c "$supported" 2>/dev/null; then echo "$candidate"; return; fi
  done
  echo "Needs Python 3.11, 3.12 or 3.13. Received: $(python3 --version 2>&1 || echo none). Install one, or name it: PYTHON=/path/to/python3.12 ./go ..." >&2
  return 1
}

if ! "$venv/bin/python" -c "$supported" 2>/dev/null; then
  python=$(find_python)
  echo "first run: making $venv with $python" >&2
  "$python" -m venv --clear "$venv" || {
    rm -rf "$venv"
    echo "Python's venv module does not work. On Debian and Ubuntu: apt-get install python3-venv" >&2
    exit 1
  }
fi
python=$venv/bin/python

# The stamp is written last: an interrupted installation is taken up again, a finished one costs nothing.
stamp=$venv/.installed-$(printf '%s' "$extras ${TORCH:-cpu}" | cat - pyproject.toml constraints.txt | cksum | cut -d' ' -f1)
if [ ! -e "$stamp" ]; then
  pip_install() { "$python" -m pip install -q --disable-pip-version-check "$@"; }
  uv=$(command -v uv) || { pip_install uv 2>/dev/null && uv=$venv/bin/uv; } || uv=
  # uv does not read pip's settings: what pip finds in its configured folders, uv must find too.
  links=${PIP_FIND_LINKS:-$("$python" -m pip config get global.find-links 2>/dev/null || true)}
  if [ -n "$links" ] && [ -z "${UV_FIND_LINKS:-}" ]; then UV_FIND_LINKS=$links; export UV_FIND_LINKS; fi
  install() { if [ -n "$uv" ]; then "$uv" pip install -q --python "$python" "$@"; else pip_install "$@"; fi; }

  if ! "$python" -c "import importlib.metadata as m, sys; sys.exit(m.version('torch').split('+')[0] != '$torch')" 2>/dev/null; then
    echo "first run: installing torch $torch" >&2
    cpu_build() {
      [ "${TORCH:-cpu}" = cpu ] && [ "$(uname -s)" = Linux ] || return 1
      install "torch==$torch+cpu" 2>/dev/null && return
      pip_install "torch==$torch+cpu" 2>/dev/null && return
      [ -n "$uv" ] && install --torch-backend cpu "torch==$torch" 2>/dev/null
    }
    cpu_build || {
      echo "taking the default build of torch (on Linux about 2.7 GB to download)" >&2
      install "torch==$torch"
    }
  fi
  echo "first run: installing the rest" >&2
  install -c constraints.txt -e ".[$extras]"
  rm -f "$venv"/.installed-*
  : > "$stamp"
fi

command=${1:---help}
[ $# -gt 0 ] && shift
case $command in
  test)
    [ $# -gt 0 ] && exec "$python" -m pytest "$@"
    "$venv/bin/ruff" format --check .
    "$venv/bin/ruff" check .
    "$venv/bin/mypy"
    "$python" docs/generate.py --check
    "$python" benchmarks/tables.py --check
    exec "$python" -m pytest
    ;;
  python | ruff | mypy | pytest) exec "$venv/bin/$command" "$@" ;;
  *) exec "$venv/bin/polytask" "$command" "$@" ;;
esac
