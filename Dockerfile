# One image for every role: each worker, the commands, the simulated instances.
FROM ghcr.io/astral-sh/uv:0.13.9-python3.11-bookworm-slim AS build
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PROJECT_ENVIRONMENT=/opt/flc
WORKDIR /source
# The dependencies first: a layer that stays while only our code changes.
COPY pyproject.toml ./
RUN --mount=type=cache,target=/root/.cache/uv uv sync --no-dev --extra tracing --no-install-project
COPY README.md topics.yaml ./
COPY schemas schemas
COPY learning learning
COPY workers workers
COPY convergence convergence
COPY flc flc
RUN --mount=type=cache,target=/root/.cache/uv uv sync --no-dev --extra tracing --no-editable

FROM python:3.11-slim-bookworm
RUN useradd --create-home --uid 10001 flc
COPY --from=build /opt/flc /opt/flc
ENV PATH=/opt/flc/bin:$PATH PYTHONUNBUFFERED=1 FLC_HTTP_HOST=0.0.0.0
USER flc
WORKDIR /home/flc
EXPOSE 9464
ENTRYPOINT ["flc"]
CMD ["--help"]
