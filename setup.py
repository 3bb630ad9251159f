"""Metadata stands in pyproject.toml; here an editable install becomes a list of folders, which type checkers follow."""

from pathlib import Path

from setuptools import setup
from setuptools.command import editable_wheel

ROOTS = ("sdk", "convert", "train", "benchmarks")


class EditableWheel(editable_wheel.editable_wheel):
    def _select_strategy(self, name: str, tag: str, build_lib: object) -> object:
        return editable_wheel._StaticPth(self.distribution, name, [Path(root).resolve() for root in ROOTS])


setup(cmdclass={"editable_wheel": EditableWheel})
