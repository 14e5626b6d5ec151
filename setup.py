"""Builds the C++ extension `paradigm._core`; every other setting is in pyproject.toml."""

import os
import sys
from glob import glob
from pathlib import Path

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension, build_ext
from setuptools import setup

ROOT = Path(__file__).parent

if sys.platform == "win32":
    sys.exit("paradigm runs on Linux and macOS; on Windows, install it inside WSL 2 (https://learn.microsoft.com/windows/wsl).")
if not (ROOT / "paradigm" / "kernels").is_dir():
    sys.exit(
        "paradigm/kernels must be a symbolic link to ../kernels, but it is a plain file: this checkout was made without symlinks. "
        "Run `git config core.symlinks true && git checkout -- paradigm/kernels`, then build again."
    )


class Build(build_ext):
    def build_extensions(self) -> None:
        """Compiles the bindings, which are glue and half of the work, with little optimisation."""
        compile_one = self.compiler._compile

        def compile_file(obj, source, ext, cc_args, extra_args, pp_opts):
            compile_one(obj, source, ext, cc_args, [*extra_args, *(["-O1"] if "bindings" in Path(source).parts else [])], pp_opts)

        self.compiler._compile = compile_file
        super().build_extensions()


openmp = [] if sys.platform == "darwin" else ["-fopenmp"]
ParallelCompile("PARADIGM_BUILD_JOBS", default=os.cpu_count() or 1).install()
setup(
    ext_modules=[
        Pybind11Extension(
            "paradigm._core",
            sorted(glob("csrc/src/*.cpp") + glob("csrc/bindings/*.cpp")),
            include_dirs=["csrc/include"],
            depends=sorted(glob("csrc/include/paradigm/*.h") + glob("csrc/src/*.h") + glob("csrc/bindings/*.h")),
            cxx_std=17,
            extra_compile_args=["-O3", "-g0", "-fvisibility=hidden", "-ffp-contract=off", "-Wall", "-Wextra", *openmp],
            extra_link_args=openmp,
        )
    ],
    cmdclass={"build_ext": Build},
)
