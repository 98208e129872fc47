/** The script of pages behind share links: styles and arrow keys. They work without it. */

import "./styles/share.css";

import { startLinkKeys } from "./lib/link-keys";

startLinkKeys();
