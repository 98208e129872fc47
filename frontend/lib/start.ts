/** Imported before the elements: they read what this does. */

import { roomAddresses, roomElement } from "./room";
import { claimStore } from "./store";

if (roomElement()) claimStore(roomAddresses().user);
