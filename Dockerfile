# Two images, built from wheels: `convert` has all that converts, `device` the runtime and one engine (docs/installing.md).
#   docker build --target convert -t edgekit-convert .
#   docker build --target device --build-arg EXTRA=litert -t edgekit-device .
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY edgekit edgekit
COPY targets targets
COPY profiles profiles
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:${PYTHON}-slim AS convert
COPY constraints.txt /constraints.txt
COPY --from=wheel /wheels /wheels
# PyTorch's CPU build first: the one on PyPI brings gigabytes of CUDA. Another index, or none: --build-arg TORCH_INDEX=…
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --no-cache-dir -c /constraints.txt --index-url "${TORCH_INDEX}" torch
RUN wheel="$(ls /wheels/edgekit_ml-*.whl)" \
    && pip install --no-cache-dir -c /constraints.txt "${wheel}[convert,tflite,llm,qnn,report]"
RUN useradd --create-home --uid 1000 edgekit
USER 1000
WORKDIR /work
ENTRYPOINT ["edgekit"]
CMD ["--help"]

FROM python:${PYTHON}-slim AS device
ARG EXTRA=runtime
COPY --from=wheel /wheels /wheels
# The version is the wheel's.
# hadolint ignore=DL3013
RUN wheel="$(ls /wheels/edgekit_ml-*.whl)" \
    && pip install --no-cache-dir "${wheel}[${EXTRA},images]"
RUN useradd --create-home --uid 1000 edgekit
USER 1000
WORKDIR /work
ENTRYPOINT ["edgekit"]
CMD ["doctor"]
