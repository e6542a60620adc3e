"""The C core: every C file under ``tcnstream/core`` belongs to it. All else is said in pyproject.toml.

Optional: without a compiler the package still installs and a slower engine takes over. The stable ABI makes one wheel
for all Pythons. Without fused multiply-adds float results are those of the reference kernels, bit for bit.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from typing import Any

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext


class SideBySide(build_ext):
    """Compiles as many files at a time as there are processors; setuptools takes one after the other."""

    def build_extensions(self) -> None:
        one_after_the_other = self.compiler.compile

        def compile(sources: list[str], *args: Any, **options: Any) -> list[str]:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                made = pool.map(lambda source: one_after_the_other([source], *args, **options), sources)
                return [file for files in made for file in files]

        if self.compiler.compiler_type == "unix":
            self.compiler.compile = compile
        super().build_extensions()


core = Extension(
    "tcnstream._native",
    sources=sorted(glob("tcnstream/core/**/*.c", recursive=True)),
    depends=sorted(glob("tcnstream/core/**/*.h", recursive=True)),
    define_macros=[("TCN_OWN_CRC32", None)],  # binding/crc32.c has room for tables
    extra_compile_args=["-O3", "-ffp-contract=off", "-fvisibility=hidden"],
    py_limited_api=True,
    optional=True,
)

setup(ext_modules=[core], cmdclass={"build_ext": SideBySide})
