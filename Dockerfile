# The image of every frisket pod: Ray head, Ray workers, job submitter, MLflow server.
#
#   docker build --build-arg DEVICE=cpu  -t frisket:0.1.0-ray2.60.0-cpu  .
#   docker build --build-arg DEVICE=cuda -t frisket:0.1.0-ray2.60.0-cuda .
#
# The tag says which frisket and which Ray are inside, and the manifests in k8s/ name it. All versions are those of
# constraints.txt. The package index's build of torch brings CUDA's libraries along and runs on CPUs as well;
# TORCH_INDEX may name a further index whose build of the same version is preferred, PyTorch's own index of CPU builds
# for example, which saves several GB. Without it, and with the file k8s/hashes.txt that `make hashes` writes, every package
must be the very file whose hash is there.
ARG DEVICE=cpu

FROM python:3.11-slim-bookworm AS cpu
# torch.compile calls a C++ compiler when a run starts.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
RUN groupadd --gid 1000 frisket && useradd --uid 1000 --gid 1000 --create-home frisket
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONUNBUFFERED=1 \
    RAY_USAGE_STATS_ENABLED=0

FROM cpu AS cuda
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

FROM ${DEVICE}
ARG DEVICE
ARG TORCH_INDEX
WORKDIR /src
# The large and seldom changing part first, so that a change of frisket rebuilds the last layer alone.
COPY constraints.txt k8s/requirements.txt k8s/hashes*.txt ./
RUN if [ -f hashes.txt ] && [ -z "$TORCH_INDEX" ]; then \
    pip install --no-deps --require-hashes --requirement hashes.txt; \
    else \
    pip install ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} --constraint constraints.txt \
    --requirement requirements.txt setuptools torch; \
    fi \
    && if [ "$DEVICE" = cuda ]; then python -c "import torch; assert torch.version.cuda, 'a build without CUDA'"; fi
COPY . .
RUN pip install --constraint constraints.txt --no-build-isolation . && rm -rf build *.egg-info
USER 1000:1000
WORKDIR /home/frisket
CMD ["frisket", "--help"]
