"""Command lines: a module each, with `parser()` and `main(argv)`, started by tools/ or as `uda`."""
