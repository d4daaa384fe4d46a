"""`python -m tenuto` is the command `tenuto`."""

from __future__ import annotations

from tenuto.cli import main

if __name__ == "__main__":
    main()
