"""The whole way through the product with canaries, and every sink looked through for them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest

from launcher.process import wait_until

from . import journey as way
from .journey import Journey, journey
from .people import Program
from .product import Product
from .sinks import (
    RedisWatch,
    in_database,
    in_files,
    in_open_files,
    named_in,
)

pytestmark = pytest.mark.slow_process
JSON = "application/json"
# Keeps what it is told in a file that has no name any more.
UNLINKED = """
import sys, tempfile, time
file = tempfile.TemporaryFile("w+", dir=sys.argv[1])
file.write(sys.argv[2])
file.flush()
print("written", flush=True)
time.sleep(60)
"""


@contextmanager
def table_away(product: Product, table: str) -> Iterator[None]:
    """A programmer's mistake, as the product sees it: an error that nobody expects."""
    address = product.settings()["DATABASE_URL"]
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f"ALTER TABLE {table} RENAME TO {table}_away")
        try:
            yield
        finally:
            connection.execute(f"ALTER TABLE {table}_away RENAME TO {table}")


@contextmanager
def visit(address: str) -> Iterator[httpx.Client]:
    """As a stranger, with a wrong password and then the right one, down to the files."""
    with httpx.Client(follow_redirects=True, timeout=30.0, trust_env=False) as stranger:
        assert stranger.get(address).status_code == 200
        wrong, right = ({"password": word} for word in (way.WRONG_PASSWORD, way.LINK_PASSWORD))
        assert stranger.post(address, data=wrong).status_code == 422
        page = stranger.post(address, data=right)
        assert way.TITLE in page.text
        within = set(re.findall(r'(?:src|href)="(/s/[^"?]+)"', page.text))
        assert within
        for found in within:
            assert stranger.get(page.url.join(found)).status_code == 200, found
        yield stranger


def go_wrong(product: Product, person: Journey, program: Program, link: str) -> None:
    """Refusals, an unexpected error, an agent that dies, a picture that cannot be opened."""
    person.to_the_room()
    person.mistype()
    refused = program.http.post("jobs", json={"prompt": way.PROMPT, "width": 7, way.PROMPT: 1})
    assert refused.status_code == 422
    assert program.http.get(f"jobs/{way.PROMPT}").status_code == 404
    assert program.http.get("jobs", params={"q": way.WORD}).status_code == 200
    named = {"name": way.PROJECT, "color": way.PROJECT}
    assert program.http.post("projects", json=named).status_code == 422
    half = {"content": f'{{"prompt": "{way.PROMPT}', "headers": {"Content-Type": JSON}}
    assert program.http.post("jobs", **half).status_code == 400  # type: ignore[arg-type]  # httpx's own
    with table_away(product, "jobs_job"):
        assert person.press() == 500
        assert program.http.get("jobs", params={"q": way.WORD}).status_code == 500
        assert program.http.post("jobs", json={"prompt": way.PROMPT}).status_code == 500

    with visit(link) as stranger, table_away(product, "jobs_output"):
        assert stranger.get(link).status_code == 500
        assert stranger.get(f"{link}/{way.PROMPT}").status_code == 500
    assert httpx.get(f"{link}x").status_code == 404
    assert httpx.get(f"{link}/{way.PROMPT}/x").status_code == 404

    job = program.submit(prompt=way.PROMPT, negative_prompt=way.NEGATIVE, num_inference_steps=90)
    program.wait_for_step(job["id"], 5)
    product.kill("agent")
    assert program.end_of(job["id"], 90)["status"] == "succeeded"


def break_inputs(product: Product) -> int:
    """Turn one byte of all starting pictures in the store; how many."""
    with psycopg.connect(product.settings()["DATABASE_URL"]) as connection:
        connection.execute("SELECT set_config('studio.organization', '*', false)")
        query = "SELECT id FROM workspaces_artifact WHERE kind = 'input'"
        names = {f"{id_}.sealed" for (id_,) in connection.execute(query)}
    paths = [path for path in (product.state / "store").rglob("*.sealed") if path.name in names]
    for path in paths:
        content = bytearray(path.read_bytes())
        content[-20] ^= 1
        path.write_bytes(content)
    return len(paths)


@contextmanager
def planted(product: Product, watch: RedisWatch, person: Journey, text: str) -> Iterator[set[int]]:
    """The text once in each kind of sink; the process that has it in a file without a name."""
    (product.state / "planted").write_text(text)
    (product.temporary / "planted").write_text(text)
    watch.client.publish("planted", text)
    with Path(f"/proc/{product.pid('web')}/fd/1").open("w") as printed:
        printed.write(f"{text}\n")
    person.page.goto(f"/accounts/login/?{text}")
    unlinked = subprocess.Popen(
        [sys.executable, "-c", UNLINKED, str(product.temporary), text],
        stdout=subprocess.PIPE,
    )
    assert unlinked.stdout is not None
    unlinked.stdout.readline()
    with psycopg.connect(product.settings()["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("CREATE TABLE planted (words text, content bytea)")
        connection.execute("INSERT INTO planted VALUES ('', %s)", [text.encode()])
    try:
        yield {unlinked.pid}
    finally:
        unlinked.kill()
        with psycopg.connect(product.settings()["DATABASE_URL"], autocommit=True) as connection:
            connection.execute("DROP TABLE planted")
        (product.state / "planted").unlink()
        (product.temporary / "planted").unlink()


def test_every_sink_would_be_found_out(product: Product) -> None:
    """The search itself: what is planted in each kind of sink is found there."""
    text = f"planted-{os.urandom(6).hex()}"
    secrets = {"planted": text.encode()}
    watch = RedisWatch(product)
    with journey(product) as person, planted(product, watch, person, text) as pids:
        assert wait_until(lambda: text in product.text(), 5.0)
        assert wait_until(lambda: bool(watch.holds(secrets)), 5.0)
        assert "planted" in in_database(product, secrets)
        assert in_open_files(secrets, pids)
        assert person.wire.holds(secrets)
        found = in_files(secrets, product.state, product.temporary, product.postgres)
        for folder in (product.state, product.temporary, product.postgres / "pg_wal"):
            assert any(Path(path).is_relative_to(folder) for path in found), folder
    watch.close()
    for before in (b"", b"x", b"xy"):
        encoded = b64encode(before + text.encode() + b"z")
        assert named_in(encoded, secrets), "hidden in base64"


def test_a_whole_journey_leaves_no_trace_in_the_clear(product: Product) -> None:
    watch = RedisWatch(product)
    pages = {}
    with journey(product) as person:
        # Given: everything that a person does, rightly and wrongly
        person.sign_in()
        person.name_an_address()
        person.bring_a_picture()
        person.make_a_project()
        job = person.ask()
        person.wait_for(job)
        person.search(job)
        person.to_the_room()
        link = person.share()
        person.to_the_room()
        person.look_at(job)
        token = person.make_a_token()
        program = Program(product.url, token)
        person.to_the_room()
        go_wrong(product, person, program, link)
        person.to_the_room()
        person.bring_a_picture()
        assert break_inputs(product)
        person.wait_for(person.ask(), "failed")

        # Then: nothing of it is anywhere while the product runs
        secrets = person.secrets
        assert {"cookie", "token", "link", "output"} <= secrets.keys()
        for address in ("/healthz", "/readyz", "/metrics", "/api/schema/", "/nothing"):
            pages[address] = httpx.get(product.url + address)
        assert not watch.holds(secrets)
        in_tables = in_database(product, secrets)
        # A session's key is in its table, and so in files that the database has open.
        but_cookie = {name: secret for name, secret in secrets.items() if name != "cookie"}
        assert not in_open_files(but_cookie, product.pids())
        assert not person.wire.holds(secrets)
        program.close()
    for address, answer in pages.items():
        assert not named_in(f"{answer.headers} {answer.text}".encode(), secrets), address
    # A session's key is what its row is found by, in the list of one's sessions as well.
    sessions = ("django_session", "usersessions_usersession", "pg_stat_activity")
    known = {table: {"cookie"} for table in sessions}
    assert all(names <= known.get(table, set()) for table, names in in_tables.items()), in_tables
    # The watch has heard the job's messages, so it would have heard more
    assert job.encode() in watch.heard
    watch.close()

    # And: nothing when it has ended and all is on disk
    assert product.stop(signal.SIGTERM) == 0
    assert not named_in("".join(product.lines).encode(), secrets)
    assert "Traceback" in product.text(), "the unexpected error was told"
    written = in_files(secrets, product.state, product.temporary, product.postgres)
    in_postgres = {path for path in written if Path(path).is_relative_to(product.postgres)}
    assert all(written[path] == {"cookie"} for path in in_postgres), written
    assert not written.keys() - in_postgres, written
