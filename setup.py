"""The C core: every C file under ``tcnstream/core`` belongs to it. All else is said in pyproject.toml.

Optional: without a compiler the package still installs and a slower engine takes over. The stable ABI makes one wheel
for all Pythons. Without fused multiply-adds float results are those of the reference kernels, bit for bit.
"""

from glob import glob

from setuptools import Extension, setup

core = Extension(
    "tcnstream._native",
    sources=sorted(glob("tcnstream/core/**/*.c", recursive=True)),
    depends=sorted(glob("tcnstream/core/**/*.h", recursive=True)),
    define_macros=[("TCN_OWN_CRC32", None)],  # binding/crc32.c has room for tables
    extra_compile_args=["-O3", "-ffp-contract=off", "-fvisibility=hidden"],
    py_limited_api=True,
    optional=True,
)

setup(ext_modules=[core])
