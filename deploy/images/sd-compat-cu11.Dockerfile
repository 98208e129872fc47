# An agent for CUDA 11, for drivers older than 525. Its lock is written where PyTorch's own index can be reached.
ARG BASE=studio-base
# hadolint ignore=DL3006
FROM ${BASE}

# Every file by its hash: a package that was changed since is refused.
COPY deploy/images/locks/agent-cu11.lock /opt/studio/requirements.lock
RUN pip install --no-cache-dir --require-hashes --only-binary :all: --requirement requirements.lock

COPY gpuagent/ /opt/studio/gpuagent/
COPY deploy/images/healthy.py /opt/studio/healthy.py

# Says in every manifest which image made a picture. Give the digest when you run it:
# --env STUDIO_RUNTIME_IMAGE=sd-compat-cu11@sha256:…
ARG REVISION=unknown
ENV STUDIO_RUNTIME_IMAGE=sd-compat-cu11:${REVISION} \
    STUDIO_AGENT_CREDENTIALS=/etc/studio/agent.json \
    STUDIO_AGENT_METRICS=127.0.0.1:9103 \
    STUDIO_AGENT_LABELS=compat
LABEL org.opencontainers.image.title=sd-compat-cu11 \
      org.opencontainers.image.revision=${REVISION}

USER 10001:10001
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "/opt/studio/healthy.py", "http://127.0.0.1:9103/healthz"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["python", "-m", "gpuagent"]
CMD ["run"]
