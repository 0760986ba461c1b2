# syntax=docker/dockerfile:1

# Everything that requirements.lock names is downloaded and checked against its hashes here. The image itself takes
# from it only what running needs, so tools for development stay behind.
FROM python:3.11-slim AS build
WORKDIR /src
COPY requirements.lock ./
RUN pip download --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock -d /wheels \
    && pip install --quiet --disable-pip-version-check --no-index --find-links /wheels hatchling
COPY pyproject.toml README.md LICENSE ./
COPY dspex_core ./dspex_core
COPY dspex ./dspex
COPY workflows ./workflows
COPY activities ./activities
RUN hatchling build --target wheel --directory /wheels

FROM python:3.11-slim
# With the id of the user who mounts a folder, what is written there belongs to that user.
ARG UID=1000
RUN useradd --uid "$UID" --create-home dspex \
    && mkdir -p /var/lib/dspex \
    && chown dspex /var/lib/dspex
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --quiet --disable-pip-version-check --no-cache-dir --no-index --find-links /wheels "dspex[dashboard,encryption,otel,parquet,redis]"
USER dspex
WORKDIR /home/dspex
ENV DSPEX_HOME=/var/lib/dspex \
    PYTHONUNBUFFERED=1
VOLUME /var/lib/dspex
ENTRYPOINT ["dspex"]
CMD ["worker"]
