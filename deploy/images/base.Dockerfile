# What all runtime images share: Python, a user without rights, no compiler, nothing of Studio yet.
# PYTHON may name a digest (python:3.11-slim-bookworm@sha256:…): then even this is the same tomorrow.
ARG PYTHON=python:3.11-slim-bookworm
# hadolint ignore=DL3006
FROM ${PYTHON}

ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    HF_HUB_OFFLINE=1 \
    DIFFUSERS_DISABLE_REMOTE_CODE=true \
    PATH=/opt/venv/bin:$PATH

RUN groupadd --gid 10001 studio \
    && useradd --uid 10001 --gid studio --no-create-home --home-dir /home/studio studio \
    && install -d -o studio -g studio /home/studio /var/cache/studio /var/lib/studio /etc/studio \
    && python -m venv /opt/venv

# Written to at run time: mount them, and the rest can be read-only.
ENV HOME=/home/studio \
    XDG_CACHE_HOME=/var/cache/studio \
    STUDIO_AGENT_CACHE=/var/cache/studio/agent \
    STUDIO_STATE=/var/lib/studio
VOLUME ["/var/cache/studio", "/var/lib/studio"]

WORKDIR /opt/studio
