"""In place of an agent that a raylet cannot live without but has no use for: ends with the raylet it reads from."""

import sys

if __name__ == "__main__":
    while sys.stdin.buffer.raw.read(4096):
        pass
