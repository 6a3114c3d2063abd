"""How much the property tests try: by default the same cases each time, so that a change is judged by what it changed.

`pytest --hypothesis-profile explore` draws new cases on every run, to look for what nobody thought of.
"""

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True)
settings.register_profile("explore", derandomize=False, print_blob=True)
settings.load_profile("repeatable")
