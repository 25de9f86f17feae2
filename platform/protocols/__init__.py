"""What is measured and when. A new protocol is a file here and a row in `frisket.platform.specs.kinds`."""
