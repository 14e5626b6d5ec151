"""Builds the C++ extension `paradigm._core`, and the optional CUDA one, `paradigm._cuda`; every other setting is in pyproject.toml.

PARADIGM_CUDA=1 builds `_cuda` too, or fails; PARADIGM_CUDA=only builds nothing else; PARADIGM_CUDA=0 leaves it out. Unset, it is built where nvcc
and a GPU are found, and left out with a warning if that fails. nvcc is CUDA_HOME's, or on the PATH, or of the package nvidia-cuda-nvcc.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
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


# Hopper by name; others by sm_80's code, or by its PTX
CUDA_FLAGS = ["-std=c++17", "-O3", "-gencode=arch=compute_90a,code=sm_90a", "-gencode=arch=compute_80,code=[sm_80,compute_80]"]


def find_nvcc() -> str | None:
    packaged = glob(f"{sysconfig.get_paths()['purelib']}/nvidia/*/bin/nvcc")
    at_home = Path(os.environ.get("CUDA_HOME", "")) / "bin" / "nvcc"
    return str(at_home) if "CUDA_HOME" in os.environ and at_home.exists() else shutil.which("nvcc") or next(iter(packaged), None)


def has_gpu() -> bool:
    return shutil.which("nvidia-smi") is not None and subprocess.run(["nvidia-smi", "-L"], capture_output=True).returncode == 0


def cuda_extension(nvcc: str, *, optional: bool) -> Pybind11Extension:
    said = subprocess.run([nvcc, "--dryrun", "-c", "x.cu"], capture_output=True, text=True).stderr
    top = Path(re.search(r"^#\$ TOP=(.*)$", said, re.MULTILINE)[1])
    return Pybind11Extension(
        "paradigm._cuda",
        sorted(glob("csrc/cuda/*.cu") + glob("csrc/bindings/cuda/*.cpp")),
        include_dirs=["csrc/include"],
        depends=["csrc/include/paradigm/cuda_scan.h", "csrc/bindings/arguments.h"],
        cxx_std=17,
        extra_compile_args=["-g0", "-fvisibility=hidden", "-Wall", "-Wextra"],
        library_dirs=[str(top / "lib64"), str(top / "lib")],
        libraries=["cudart_static", "rt", "pthread", "dl"],
        optional=optional,
    )


class Build(build_ext):
    def build_extensions(self) -> None:
        """Compiles the bindings, which are glue and half of the work, with little optimisation, and CUDA's files with nvcc."""
        self.compiler.src_extensions.append(".cu")
        compile_one = self.compiler._compile

        def compile_file(obj, source, ext, cc_args, extra_args, pp_opts):
            if ext == ".cu":
                self.spawn([find_nvcc(), *CUDA_FLAGS, "-Xcompiler", "-fPIC,-fvisibility=hidden", "-Icsrc/include", "-c", source, "-o", obj])
                return
            compile_one(obj, source, ext, cc_args, [*extra_args, *(["-O1"] if "bindings" in Path(source).parts else [])], pp_opts)

        self.compiler._compile = compile_file
        super().build_extensions()


openmp = [] if sys.platform == "darwin" else ["-fopenmp"]
ParallelCompile("PARADIGM_BUILD_JOBS", default=os.cpu_count() or 1).install()
core = Pybind11Extension(
    "paradigm._core",
    sorted(glob("csrc/src/*.cpp") + glob("csrc/bindings/*.cpp")),
    include_dirs=["csrc/include"],
    depends=sorted(glob("csrc/include/paradigm/*.h") + glob("csrc/src/*.h") + glob("csrc/bindings/*.h")),
    cxx_std=17,
    extra_compile_args=["-O3", "-g0", "-fvisibility=hidden", "-ffp-contract=off", "-Wall", "-Wextra", *openmp],
    extra_link_args=openmp,
)
asked, nvcc = os.environ.get("PARADIGM_CUDA", ""), find_nvcc()
if asked not in ("", "0", "1", "only"):
    sys.exit(f"PARADIGM_CUDA must be 0, 1, only or unset, got {asked!r}")
if asked in ("1", "only") and nvcc is None:
    sys.exit("PARADIGM_CUDA asks for paradigm._cuda, but there is no nvcc: install a CUDA toolkit, and set CUDA_HOME if nvcc is not on the PATH.")
extensions = [] if asked == "only" else [core]
if nvcc is not None and (asked in ("1", "only") or (asked == "" and has_gpu())):
    extensions.append(cuda_extension(nvcc, optional=asked == ""))
setup(ext_modules=extensions, cmdclass={"build_ext": Build})
