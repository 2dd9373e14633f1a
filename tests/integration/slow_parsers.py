"""A parser that takes longer to load than a document may keep others waiting."""

import time

from workers.extract.lanes import PATIENCE_S


def warm_up():
    time.sleep(PATIENCE_S + 0.6)


def echo(file, argument):
    return argument + file.read()
