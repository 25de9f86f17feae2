"""Published tables: one YAML each, `PAPER/NAME.yaml`, read by `frisket.platform.tables.table`."""
