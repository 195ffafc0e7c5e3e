# SPDX-License-Identifier: Apache-2.0
"""Where the files of cases put them."""
import os

KAFKA = os.environ.get("WEIR_KIND") == "kafka"
CASES = []


def case(expected, kafka=None):
    """Registers a function; what it returns must equal `expected` or be in that set."""
    def register(function):
        CASES.append((function.__name__, kafka if KAFKA and kafka is not None else expected,
                      function))
        return function
    return register


def cases(expected, kafka=None, **rows):
    """One function for a family: it is called with each row's value."""
    def register(function):
        for name, value in rows.items():
            def call(broker, value=value):
                return function(broker, value)
            call.__name__ = f"{function.__name__} {name}"
            case(expected, kafka)(call)
        return function
    return register
