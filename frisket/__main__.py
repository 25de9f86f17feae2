"""``python -m frisket``: the command line, from a checkout or an installation alike."""

from frisket.platform.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
