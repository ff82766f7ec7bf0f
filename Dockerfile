# The platform as one image: locked, byte-code compiled, run by nobody in particular.
FROM python:3.11-slim-bookworm AS build
WORKDIR /srv/malacate
RUN python -m venv /srv/venv
COPY requirements.lock ./
RUN /srv/venv/bin/pip install --no-cache-dir --compile --no-deps --require-hashes -r requirements.lock
COPY pyproject.toml README.md workspace.yaml ./
COPY platform platform
COPY dbt dbt
# Editable: dg finds platform/dg.toml beside the package, which a wheel would not carry.
RUN /srv/venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation --editable . \
    && /srv/venv/bin/python -m compileall -q platform

FROM python:3.11-slim-bookworm
COPY --from=build /srv /srv
WORKDIR /srv/malacate
COPY dagster.yaml /data/dagster/dagster.yaml
RUN useradd --uid 10001 --no-create-home malacate && mkdir -p /data && chown -R 10001 /data /srv/malacate/dbt
USER 10001
ENV PATH=/srv/venv/bin:$PATH MALACATE_HOME=/data DAGSTER_HOME=/data/dagster PYTHONUNBUFFERED=1
VOLUME /data
# The webserver has no login: it listens on loopback, put an authenticating proxy before it.
CMD ["dagster-webserver", "-w", "workspace.yaml", "--host", "127.0.0.1", "--port", "3000"]
