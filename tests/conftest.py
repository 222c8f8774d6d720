"""What all tests share."""

import signal

# A shell that starts the tests in the background has them, and what they start, ignore Ctrl-C:
# then nothing would ever interrupt the tests that interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
