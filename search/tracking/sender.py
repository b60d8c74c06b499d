"""From the spool to the tracker, in a thread of its own: no trial ever waits for the tracker."""

import logging
import math
import threading
import time

from search.tracking.spool import Spool, SpoolClosedError
from search.tracking.tracker import Tracker, UnknownRunError
from sermodels.credentials import without_credentials
from sermodels.errors import UserError

logger = logging.getLogger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0  # between attempts, doubled after each that failed


class Sender:
    """Sends a spool's records in order, and again until the tracker has taken them."""

    def __init__(self, spool: Spool, tracker: Tracker):
        """Begin to send."""
        self._spool, self._tracker = spool, tracker
        self._sent = spool.sent
        self._ending = threading.Event()
        self._succeeded = time.monotonic()  # the last time
        self._failing = self._repeated = False
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)
        self._thread.start()

    def finish(self, patience_s: float, at_most_s: float = math.inf) -> bool:
        """Send what is left, and end; whether all of it was sent.

        Args:
            patience_s: how long to go on after the last success.
            at_most_s: how long to go on in any case.
        """
        began = self._succeeded = time.monotonic()
        self._ending.set()
        self._spool.grown.set()
        while self._thread.is_alive() and time.monotonic() < min(self._succeeded + patience_s, began + at_most_s):
            self._thread.join(0.05)
        return not self._thread.is_alive() and self._spool.unsent == 0

    def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            self._spool.grown.clear()
            try:
                if self._send_some():
                    pause_s, self._failing = FIRST_PAUSE_S, False
                    continue
            except SpoolClosedError:
                return
            except Exception as error:
                # Whatever it is: nothing that a tracker does may reach the trials, and what is spooled is not lost.
                self._say(error)
                if self._ending.wait(pause_s):
                    time.sleep(FIRST_PAUSE_S)  # the end is near: try more often
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                continue
            if self._ending.is_set():
                return
            self._spool.grown.wait()

    def _send_some(self) -> bool:
        """One attempt; False if there is nothing to send."""
        records, end = self._spool.read(self._sent)
        if end == self._sent:
            return False
        try:
            self._tracker.send(records, self._note_success, skip_unknown=self._repeated)
        except UnknownRunError as unknown:
            # Another database, or an empty one: it gets everything from the start.
            logger.warning("tracking: %s; all that was ever logged is sent again", unknown)
            end, self._repeated = 0, True
        self._sent = end
        self._spool.mark_sent(end)
        return True

    def _note_success(self) -> None:
        self._succeeded = time.monotonic()

    def _say(self, error: Exception) -> None:
        if not self._failing:
            reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            told = without_credentials(reason)
            logger.warning("tracking: %s; training goes on, the runs wait in %s", told, self._spool.folder)
        self._failing = True
