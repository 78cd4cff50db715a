"""Devices that misbehave as real drivers do; a test names them in the table of devices."""

from __future__ import annotations

import threading
import time

import numpy as np


class OpensAndGivesNothing:
    """Opens each time, and gives no frame: what some cameras do without their cable."""

    def __init__(self, address, stall_seconds):
        self.address = address

    def open(self):
        return None

    def read(self):
        return None

    def release(self):
        pass


class Throws(OpensAndGivesNothing):
    def read(self):
        raise RuntimeError("the driver broke")


class SaysItsAddress(OpensAndGivesNothing):
    def open(self):
        raise ValueError(f"cannot open {self.address.text}")


class ThrowsAtTheEnd(Throws):
    def release(self):
        raise RuntimeError("and once more")


class HangsAfterThreeFrames(OpensAndGivesNothing):
    """A driver that never returns: only another thread can tell."""

    hung = threading.Event()
    opened = 0

    def __init__(self, address, stall_seconds):
        super().__init__(address, stall_seconds)
        HangsAfterThreeFrames.opened += 1
        self._left = 3

    def read(self):
        self._left -= 1
        if self._left < 0:
            self.hung.wait(30)
            return None
        time.sleep(0.02)
        return np.zeros((8, 8, 3), np.uint8)


class AlwaysHangs(OpensAndGivesNothing):
    hung = threading.Event()

    def read(self):
        self.hung.wait(30)
