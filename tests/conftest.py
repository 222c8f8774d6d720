"""What all tests share."""

import signal

from hypothesis import settings

# Time says nothing about properties, and on a busy machine fails them.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

# A shell that starts the tests in the background has them, and what they start, ignore Ctrl-C:
# then nothing would ever interrupt the tests that interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
