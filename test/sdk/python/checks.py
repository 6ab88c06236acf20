"""Runs the functions of a program whose names begin with check_, and tells of each."""

import sys
import traceback


def run(scope):
    failed = 0
    for name, check in list(scope.items()):
        if not name.startswith("check_"):
            continue
        try:
            check()
            print("ok  ", name)
        except Exception:  # noqa: BLE001 - every failure is told, whatever it is
            failed += 1
            print("FAIL", name)
            traceback.print_exc(file=sys.stdout)
    sys.exit(1 if failed else 0)


def same(got, want):
    if got != want:
        raise AssertionError(f"got {got!r}, want {want!r}")


def raises(kind, do, *words):
    """do must raise exactly this kind of error, with the words in its message."""
    try:
        do()
    except Exception as e:  # noqa: BLE001
        if type(e) is not kind:
            raise AssertionError(f"got {type(e).__name__}, want {kind.__name__}: {e}") from e
        for word in words:
            if word not in str(e):
                raise AssertionError(f"no {word!r} in {e}") from e
        return e
    raise AssertionError(f"no {kind.__name__} was raised")
