"""How an agent is, for orchestrators and Prometheus."""

from __future__ import annotations

import http.client
import json
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gpuagent.protocol.messages import ModelRef
from gpuagent.runner.settings import Settings, SettingsInvalidError
from gpuagent.runner.vitals import Vitals, metrics_text, serve_vitals

from .agent_process import AgentProcess
from .support import ROOT, TOKEN, FakeStudio, Valkey, free_port, wait_until

WELL = Vitals(
    turned_seconds=1.0,
    heard_seconds=2.0,
    lease_seconds=15.0,
    is_ready=True,
    is_leaving=False,
    sick_code="",
    attempts=2,
    memory_bytes=1024,
    telemetry={
        "temperature_c": 61.0,
        "power_w": 250.5,
        "utilization": 0.5,
        "memory_used_bytes": 7,
        "throttled": ["power_cap"],
        "loads": {"gpu": 3, "disk": 1},
        "load_seconds": {"gpu": 0.0, "disk": 2.5},
        "plan_ratios": {"counts": {"0.9": 2, "1.05": 1, "inf": 1}, "sum": 8.5},
    },
    residents=(
        {"digest": "secret", "name": "secret", "component": "unet", "bytes": 5, "place": "gpu"},
        {"digest": "secret", "name": "secret", "component": "vae", "bytes": 2, "place": "gpu"},
        {"digest": "secret", "name": "secret", "component": "files", "bytes": 9, "place": "disk"},
    ),
)


def samples(vitals: Vitals) -> dict[tuple[str, str], float]:
    """By name and the one label's value."""
    return {
        (sample.name.removeprefix("studio_agent_"), "".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(metrics_text(vitals))
        for sample in family.samples
    }


def test_numbers_are_told_and_no_model_is_named() -> None:
    found = samples(WELL)
    assert found["ready", ""] == 1
    assert found["sick", "none"] == 0
    assert found["temperature_celsius", ""] == 61
    assert found["throttled", "power_cap"] == 1
    assert found["model_loads_total", "gpu"] == 3
    assert found["model_load_seconds_total", "disk"] == 2.5
    assert found["resident_bytes", "gpu"] == 7
    buckets = [found["plan_ratio_bucket", bound] for bound in ("0.75", "0.9", "1.0", "1.05")]
    assert buckets == [0, 2, 2, 3]
    assert found["plan_ratio_bucket", "4.0"] == 3
    assert found["plan_ratio_bucket", "+Inf"] == found["plan_ratio_count", ""] == 4
    assert found["plan_ratio_sum", ""] == 8.5
    assert "secret" not in metrics_text(WELL)
    sick = samples(replace(WELL, sick_code="gpu.hang", telemetry={}))
    assert (sick["ready", ""], sick["sick", "gpu.hang"]) == (0, 1)
    assert ("temperature_celsius", "") not in sick


def test_every_metric_is_described() -> None:
    page = (ROOT / "docs/reference/metrics.md").read_text(encoding="utf-8")
    for family in text_string_to_metric_families(metrics_text(WELL)):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert f"| `{name}` |" in page, name


@pytest.mark.parametrize(
    ("change", "lacks"),
    [
        ({}, ""),
        ({"is_ready": False}, "its first model"),
        ({"heard_seconds": 16.0, "is_ready": False}, "the studio"),
        ({"sick_code": "gpu.hang"}, "somebody who looks at it: gpu.hang"),
        ({"is_leaving": True, "sick_code": "gpu.hang"}, "nothing: it is leaving"),
        ({"turned_seconds": 61.0}, "a heartbeat that does not end"),
    ],
)
def test_what_it_waits_for_is_said(change: dict[str, object], lacks: str) -> None:
    vitals = replace(WELL, **change)  # type: ignore[arg-type]  # of Vitals
    assert vitals.waiting_for == lacks
    assert vitals.is_alive == ("turned_seconds" not in change)


def ask(port: int, path: str, token: str = "") -> tuple[int, str]:
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    line.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
    answer = line.getresponse()
    return answer.status, answer.read().decode()


def test_numbers_are_for_who_shows_the_token_and_health_for_anybody() -> None:
    server = serve_vitals(("127.0.0.1", 0), lambda: WELL, token="metrics")
    port = server.server_port
    assert ask(port, "/metrics")[0] == 403
    assert ask(port, "/metrics", "wrong")[0] == 403
    assert ask(port, "/metrics", "metrics")[0] == 200
    assert ask(port, "/healthz") == (200, '{"alive": true}')
    assert ask(port, "/readyz") == (200, '{"ready": true, "waiting_for": ""}')
    assert ask(port, "/other", "metrics")[0] == 404
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("value", ["9103", "127.0.0.1:x", ":9103", "h:99999", "0.0.0.0:9103"])
def test_an_address_that_cannot_be_is_named(value: str, tmp_path: Path) -> None:
    credentials = tmp_path / "agent.json"
    credentials.write_text(json.dumps({"agent_id": "a", "token": TOKEN, "namespace": "n"}))
    environment = {
        "STUDIO_URL": "http://127.0.0.1:1",
        "STUDIO_AGENT_CREDENTIALS": str(credentials),
        "STUDIO_AGENT_METRICS": value,
    }
    with pytest.raises(SettingsInvalidError, match="STUDIO_AGENT_METRICS"):
        Settings.from_env(environment)
    reachable = {**environment, "STUDIO_AGENT_METRICS": "[::]:9103", "STUDIO_METRICS_TOKEN": "t"}
    assert Settings.from_env(reachable).metrics == ("::", 9103)


def test_a_process_is_alive_before_it_is_ready(
    studio: FakeStudio, valkey: Valkey, house_ref: ModelRef, tmp_path: Path
) -> None:
    # Given: an agent whose studio is away
    studio.is_down, studio.preload = True, (house_ref,)
    port = free_port()
    agent = AgentProcess(tmp_path, studio, valkey, STUDIO_AGENT_METRICS=f"127.0.0.1:{port}")
    try:
        wait_until(lambda: answers(port), seconds=60, what="an answer")
        assert ask(port, "/healthz")[0] == 200
        assert json.loads(ask(port, "/readyz")[1])["waiting_for"] == "the studio"
        # When it is there again, Then the agent gets ready
        studio.is_down = False
        wait_until(lambda: ask(port, "/readyz")[0] == 200, seconds=60, what="readiness")
        text = ask(port, "/metrics")[1]
        assert "studio_agent_ready 1.0" in text
        assert "studio_agent_memory_used_bytes" in text
        assert house_ref.digest not in text
    finally:
        agent.close()


def answers(port: int) -> bool:
    try:
        return ask(port, "/healthz")[0] == 200
    except OSError:
        return False
