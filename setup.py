"""conf/ and sweeps/ lie at the top of a checkout, and inside of the package in a wheel."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithFolders(build_py):
    """Copies them into what is built; an editable install finds them in the checkout."""

    def run(self) -> None:
        """Builds."""
        super().run()
        if not self.editable_mode:
            for folder in ("conf", "sweeps"):
                target = Path(self.build_lib) / "pixelcnn_lit" / folder
                shutil.rmtree(target, ignore_errors=True)  # what an earlier build left
                shutil.copytree(folder, target)


setup(cmdclass={"build_py": BuildWithFolders})
