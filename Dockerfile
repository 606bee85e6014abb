# The server alone: no torch, no compiler, no root.
FROM python:3.11.13-slim-bookworm AS build
WORKDIR /source
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY locks locks
RUN pip install --require-hashes -r locks/build.txt \
    && python -m venv /opt/unrolled \
    && /opt/unrolled/bin/pip install --require-hashes -r locks/service.txt
COPY pyproject.toml README.md LICENSE ./
COPY proto proto
COPY service service
COPY export export
COPY clients/python clients/python
RUN pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/unrolled/bin/pip install --no-deps --no-index dist/*.whl

FROM python:3.11.13-slim-bookworm
COPY --from=build /opt/unrolled /opt/unrolled
ENV PATH=/opt/unrolled/bin:$PATH PYTHONDONTWRITEBYTECODE=1 MALLOC_ARENA_MAX=2
USER 10001:10001
EXPOSE 50051 9464
STOPSIGNAL SIGTERM
# Knows of TLS by the variables alone: where it is set by flags or a file, the container needs a check of its own.
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s \
    CMD ["python", "-c", "import os, ssl, urllib.request as u; e = os.environ; c = ssl._create_unverified_context(); 'UNROLLED_TLS_CLIENT_CA' in e and c.load_cert_chain(e['UNROLLED_TLS_CERT'], e['UNROLLED_TLS_KEY']); s = 's' * ('UNROLLED_TLS_CERT' in e); u.urlopen(f'http{s}://127.0.0.1:9464/readyz', timeout=2, context=c)"]
ENTRYPOINT ["unrolled"]
# Refuses to start until it is told how callers are let in: UNROLLED_TLS_CERT, UNROLLED_TLS_KEY and UNROLLED_AUTH_TOKENS,
# or UNROLLED_INSECURE=1 behind something that does both (docs/operations.md, Access).
CMD ["serve", "--listen", "0.0.0.0:50051", "--metrics-listen", "0.0.0.0:9464"]
