/** The script of every page: styles, htmx, the custom elements. */

import "./styles/main.css";

import "./lib/start";

import "htmx.org";

import "./elements/adapter-stack";
import "./elements/agent-state";
import "./elements/control-stack";
import "./elements/copy-button";
import "./elements/drop-menu";
import "./elements/gallery-panel";
import "./elements/grid-options";
import "./elements/help-tip";
import "./elements/here-link";
import "./elements/job-tile";
import "./elements/key-list";
import "./elements/live-board";
import "./elements/local-time";
import "./elements/model-upload";
import "./elements/number-stepper";
import "./elements/panel-resizer";
import "./elements/passkey-form";
import "./elements/picture-viewer";
import "./elements/preset-row";
import "./elements/prompt-box";
import "./elements/prompt-count";
import "./elements/queue-drawer";
import "./elements/range-field";
import "./elements/recipe-form";
import "./elements/repaint-options";
import "./elements/room-switcher";
import "./elements/sampler-field";
import "./elements/seed-field";
import "./elements/size-picker";
import "./elements/start-picture";
import "./elements/studio-room";
import "./elements/studio-socket";
import "./elements/studio-stage";
import "./elements/theme-toggle";
import "./elements/tier-picker";
import "./elements/time-ago";
import "./elements/toast-stack";
import "./elements/upscale-row";
import "./elements/zone-field";
import { csrfToken } from "./lib/http";
import { handleKey } from "./lib/keys";
import { clearPrivate } from "./lib/store";
import { startViewerHost } from "./lib/viewer-host";

document.addEventListener("htmx:configRequest", (event) => {
  const { headers } = (event as CustomEvent<{ headers: Record<string, string> }>).detail;
  headers["X-CSRFToken"] = csrfToken();
});
// What is kept in the browser is confidential: it goes when the person goes.
document.addEventListener("submit", (event) => {
  if ((event.target as Element).matches("form[data-sign-out]")) clearPrivate();
});
document.addEventListener("keydown", (event) => {
  handleKey(event);
});
// The answer to a form that shows a secret once: loading it again must not send the form again.
const shownOnce = document.querySelector<HTMLElement>("[data-shown-once]");
if (shownOnce) history.replaceState(null, "", shownOnce.dataset["shownOnce"] || location.href);
startViewerHost();
