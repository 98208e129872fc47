"""Photographs every state of the pages, and runs axe on them.

`npm run build`, then `.venv/bin/python frontend/preview/look.py FOLDER [name…]`. The server and its
socket are played by Playwright; the templates, the styles and the script are the real ones, under
the real content security policy.
"""

from __future__ import annotations

import json
import mimetypes
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parent)]

import scene  # noqa: E402 - found through the line above
from playwright.sync_api import Browser, Page, Route, WebSocketRoute, sync_playwright  # noqa: E402

ORIGIN = "http://studio.example"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "font-src 'self'; connect-src 'self' ws://studio.example; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
J = scene.job_id


class Stand:
    """One page with a played server."""

    def __init__(self, browser: Browser, width: int, scheme: str, html: str) -> None:
        self.html, self.sockets = html, list[WebSocketRoute]()
        self.fragments: dict[str, tuple[int, str]] = {}
        self.snapshot: list[dict[str, object]] = []
        self.complaints: list[str] = []
        height = 900 if width > 800 else 844
        self.context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            has_touch=width < 800,
            device_scale_factor=1 if width > 800 else 2,
        )
        self.page: Page = self.context.new_page()
        self.page.on(
            "console",
            lambda said: said.type in ("error", "warning") and self.complaints.append(said.text),
        )
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.route("**/*", self.answer)
        self.page.route_web_socket("**/ws/**", self.connect)

    def connect(self, socket: WebSocketRoute) -> None:
        self.sockets.append(socket)
        socket.on_message(lambda _: None)
        socket.send(json.dumps({"type": "snapshot", "seq": 1, "jobs": self.snapshot}))

    def send(self, message: dict[str, object]) -> None:
        self.sockets[-1].send(json.dumps(message))

    def preview(self, job: str, index: int, number: int, blur: float) -> None:
        self.sockets[-1].send(bytes((1, index)) + job.encode() + scene.picture(number, 128, blur))

    def answer(self, route: Route) -> None:
        url = urlsplit(route.request.url)
        headers = {"Content-Security-Policy": POLICY}
        if url.path.startswith("/static/"):
            file = scene.ROOT / url.path.lstrip("/")
            kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
            route.fulfill(body=file.read_bytes(), content_type=kind)
        elif url.path.startswith("/media/"):
            side = 1024 if "big" in parse_qs(url.query) else 256
            route.fulfill(
                body=scene.picture(int(url.path.split("/")[-1]), side), content_type="image/webp"
            )
        elif route.request.resource_type == "document":
            route.fulfill(body=self.html, content_type="text/html; charset=utf-8", headers=headers)
        elif f"{url.path}?{url.query}" in self.fragments or url.path in self.fragments:
            status, body = self.fragments.get(f"{url.path}?{url.query}") or self.fragments[url.path]
            kind = "application/json" if body.startswith("{") else "text/html; charset=utf-8"
            route.fulfill(status=status, body=body, content_type=kind)
        elif "/outputs/" in url.path and route.request.method == "GET":
            body = scene.render(
                "jobs/partials/output.html", scene.output_context(url.path.split("/")[-1])
            )
            route.fulfill(body=body, content_type="text/html; charset=utf-8")
        elif url.path.endswith("/queue"):
            route.fulfill(
                body=scene.render("jobs/partials/queue.html", {"queue": scene.queue(ROWS)}),
                content_type="text/html",
            )
        else:
            route.fulfill(status=404, body="")

    def open(self, path: str = scene.ROOM + "/") -> Page:
        self.page.goto(ORIGIN + path)
        self.page.wait_for_timeout(350)
        return self.page

    def axe(self) -> list[str]:
        # Playwright's evaluate is not bound by the page's policy; add_script_tag would be.
        self.page.evaluate((scene.ROOT / "node_modules/axe-core/axe.min.js").read_text("utf-8"))
        found = self.page.evaluate(
            "axe.run(document, {runOnly: "
            "['wcag2a','wcag2aa','wcag21a','wcag21aa','wcag22aa','best-practice']})"
        )
        return [
            f"{each['impact']} {each['id']}: {[node['html'][:140] for node in each['nodes'][:3]]}"
            for each in found["violations"]
        ]


def row(job: str, prompt: str | None, **more: object) -> dict[str, object]:
    """A line of the queue as `jobs.drawer.queue_row` makes it."""
    is_mine = prompt is not None
    return {
        "job_id": job,
        "prompt": prompt,
        "status": "queued",
        "is_paused": False,
        "count": 1,
        "done": 0,
        "tier": "fast",
        "tier_name": "Fast",
        "starts": "",
        "can_cancel": is_mine,
        "can_pause": is_mine,
        "can_move": is_mine,
        "can_retry": False,
        "place": 1,
        "of": 2,
        "urls": dict.fromkeys(("cancel", "pause", "resume", "move", "retry"), "#"),
        "reason": None,
        **more,
    }


BEHIND = "Behind 3 Turbo jobs; then the model loads on gpu-2 in 4 s"
PEARS = "Still life with pears, north light"
ROWS = [
    row(J(9), scene.PROMPT, status="running", count=4, done=1, can_pause=False, can_move=False),
    row(J(8), PEARS, count=2, starts="in about 20 s", reason=BEHIND, is_first=True),
    row(J(6), "The same pears in the evening", is_paused=True, place=2, is_last=True),
    row(J(7), None, count=8, tier="relax", tier_name="Relax"),
]
OLD = [scene.tile(J(n), i) for n in (6, 5, 4, 3, 2) for i in range(4)]
LIVE = [
    scene.tile(J(9), 0),
    scene.tile(J(9), 1, "running"),
    scene.tile(J(9), 2, "queued"),
    scene.tile(J(9), 3, "queued"),
]


def tiles(items: list[dict[str, object]]) -> str:
    return scene.render("jobs/partials/tiles.html", {"tiles": items})


def progress(stand: Stand, step: int, index: int = 1) -> None:
    stand.send(
        {"type": "progress", "id": J(9), "step": step, "steps": 20, "index": index, "count": 4}
    )


def show_room(stand: Stand) -> None:
    stand.open()


def show_live(stand: Stand) -> None:
    stand.html = scene.room(LIVE + OLD, ROWS)
    stand.snapshot = [
        {"id": J(9), "status": "running", "step": 6, "steps": 20, "index": 1, "count": 4}
    ]
    page = stand.open()
    stand.preview(J(9), 1, sum(map(ord, J(9))) + 1, 6)
    progress(stand, 7)
    page.wait_for_timeout(700)
    if page.viewport_size and page.viewport_size["width"] < 800:
        page.click("[data-view-button=stage]")


def show_viewer(stand: Stand) -> None:
    page = stand.open()
    verdict = {
        "kind": "identical",
        "text": "Identical: every byte is the same as in the original.",
        "original_url": "#",
    }
    url = f"{scene.ROOM}/outputs/out_{J(5)}_2"
    body = scene.render(
        "jobs/partials/output.html", scene.output_context(f"out_{J(5)}_2", verdict=verdict)
    )
    stand.fragments[url] = (200, body)
    if page.viewport_size and page.viewport_size["width"] < 800:
        page.click("[data-view-button=gallery]")
        page.wait_for_timeout(200)
    page.click(f"#gallery job-tile[data-output='out_{J(5)}_2'] .tile__frame")
    page.wait_for_timeout(700)


def show_empty(stand: Stand) -> None:
    stand.html = scene.room([], [], blank=True, agents={"connected": 0, "warm": 0})
    page = stand.open()
    if page.viewport_size and page.viewport_size["width"] < 800:
        page.click("[data-view-button=stage]")


def show_failed(stand: Stand) -> None:
    message = "The agent ran out of memory at 2048 × 2048. Try 1024 × 1024."
    stand.html = scene.room(
        [
            scene.tile(J(9), 0, "failed", error_message=message),
            scene.tile(J(9), 1, "canceled"),
            *OLD,
        ],
        [],
    )
    stand.fragments[f"{scene.ROOM}/queue"] = (
        200,
        scene.render("jobs/partials/queue.html", {"queue": scene.queue([])}),
    )
    problems = [
        {"field": "prompt", "message": "The prompt is empty. Write what you want to see."},
        {"field": "width", "message": "Width is 515; it must be a multiple of 8, like 512 or 520."},
        {"field": "seed", "message": "The seed is 99999999999; choose from 0 to 4294967295."},
    ]
    stand.fragments[f"{scene.ROOM}/jobs"] = (
        422,
        scene.render("jobs/partials/form_errors.html", {"problems": problems}),
    )
    page = stand.open()
    page.click("#generate")
    page.wait_for_timeout(300)


def show_trash(stand: Stand) -> None:
    stand.fragments[f"{scene.ROOM}/gallery?trash=1"] = (
        200,
        scene.render(
            "jobs/partials/gallery.html",
            {"tiles": OLD[:3], "next_url": None, "is_trash": True, "total": 3},
        ),
    )
    stand.fragments[f"{scene.ROOM}/outputs/out_{J(6)}_3/trash"] = (200, "ok")
    page = stand.open()
    if page.viewport_size and page.viewport_size["width"] < 800:
        page.click("[data-view-button=gallery]")
    page.focus(f"#gallery job-tile[data-output='out_{J(6)}_3'] .tile__frame")
    page.keyboard.press("Delete")
    page.wait_for_timeout(300)
    page.click("[data-action=toggle-trash]")
    page.wait_for_timeout(400)


def show_keys(stand: Stand) -> None:
    page = stand.open()
    page.keyboard.press("?")
    page.wait_for_timeout(200)


def show_page(stand: Stand) -> None:
    stand.open("/")


def scenes() -> dict[str, tuple[str, object]]:
    full = scene.room(OLD, ROWS)
    login = scene.LoginForm({"login": "alice", "password": ""})
    return {
        "login": (scene.render("account/login.html", {"form": scene.LoginForm()}), show_page),
        "login-bad": (scene.render("account/login.html", {"form": login}), show_page),
        "room": (full, show_room),
        "live": (full, show_live),
        "viewer": (full, show_viewer),
        "empty": (full, show_empty),
        "failed": (full, show_failed),
        "trash": (full, show_trash),
        "keys": (full, show_keys),
        "tokens": (scene.render("jobs/tokens.html", scene.tokens_context()), show_page),
        "error": (
            scene.render(
                "error.html",
                {"title": "Not found", "message": "There is nothing at this address.", "code": 404},
            ),
            show_page,
        ),
        "picture": (
            scene.render(
                "jobs/output_page.html", {**scene.base(), **scene.output_context(f"out_{J(5)}_2")}
            ),
            show_page,
        ),
    }


def main() -> None:
    folder = Path(sys.argv[1])
    wanted = set(sys.argv[2:])
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ],
        )
        for name, (html, show) in scenes().items():
            if wanted and name not in wanted:
                continue
            for width, scheme in ((1440, "dark"), (1440, "light"), (390, "dark"), (390, "light")):
                stand = Stand(browser, width, scheme, html)
                show(stand)  # type: ignore[operator]
                file = folder / f"{name}-{width}-{scheme}.png"
                stand.page.screenshot(path=file)
                broken = stand.axe()
                print(file.name, "ok" if not broken and not stand.complaints else "")
                wide = stand.page.evaluate("document.documentElement.scrollWidth")
                if wide > width:
                    print("   too wide:", wide)
                for line in [*broken, *stand.complaints]:
                    print("  ", line)
                stand.context.close()
        browser.close()


if __name__ == "__main__":
    main()
