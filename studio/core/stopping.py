"""Whether this process is about to end: who waits for something long gives up and says so.

Set by the web process when it is asked to stop. An answer that waits for a job, and a stream of
its events, then ends by itself instead of being cut off a few seconds later.
"""

from threading import Event

is_stopping = Event()
