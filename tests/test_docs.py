"""The documentation says what the code does."""

from __future__ import annotations

import runpy
from pathlib import Path

from tfinspect.errors import error_classes

ROOT = Path(__file__).parent.parent


def test_errors_page_is_up_to_date() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "make_errors.py"))["page"]()
    assert (ROOT / "docs" / "errors.md").read_text() == page


def test_slugs_are_unique_and_every_class_is_in_the_tree() -> None:
    classes = error_classes()
    slugs = [cls.slug for cls in classes]
    assert len(set(slugs)) == len(slugs)
    import tfinspect.errors

    for cls in classes:
        assert cls.__name__ in (tfinspect.errors.__doc__ or ""), cls.__name__
