#!/usr/bin/env bash
# learn2learn and TorchOpt for benchmarks/fewshot_step.py, in build/others, which may be thrown away:
#   bash benchmarks/others.sh [PYTHON]
#
# They run on the environment's own torch, the pinned one. TorchOpt 0.7.3 installs as it is. learn2learn 0.2.0 does not:
# its data loaders are C files made by an old Cython, which Python 3.11 and later refuse, and importing it pulls in
# gym, torchvision and qpth. Its MAML needs none of them, so its files are unpacked and its packages' own imports left
# out: learn2learn.algorithms.maml is what can be imported.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${1:-.venv/bin/python}"
rm -rf build/others
mkdir -p build/others build/learn2learn
"$python" -m pip install --quiet --disable-pip-version-check --no-deps --constraint constraints.txt \
  --target build/others torchopt==0.7.3 optree graphviz
"$python" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: \
  --dest build/learn2learn learn2learn==0.2.0
tar -xzf build/learn2learn/learn2learn-0.2.0.tar.gz -C build/learn2learn
cp -r build/learn2learn/learn2learn-0.2.0/learn2learn build/others/
: > build/others/learn2learn/__init__.py
: > build/others/learn2learn/algorithms/__init__.py
rm -rf build/learn2learn
