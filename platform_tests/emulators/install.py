"""``python -m platform_tests.emulators.install``: what ``make test-all`` needs beside PyPI."""

from platform_tests.emulators.parts import PARTS

if __name__ == "__main__":
    for part in PARTS:
        part.install()
        print(f"{part.name} {part.version}: {part.path}")
