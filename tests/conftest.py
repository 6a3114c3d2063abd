"""What all tests start from.

Property tests try the same cases each time, so that a change is judged by what it changed; `pytest --hypothesis-profile
explore` draws new cases on every run, to look for what nobody thought of.
"""

import signal

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True)
settings.register_profile("explore", derandomize=False, print_blob=True)
settings.load_profile("repeatable")

# a shell that starts something in the background has it ignore Ctrl-C, which what it starts would inherit
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
