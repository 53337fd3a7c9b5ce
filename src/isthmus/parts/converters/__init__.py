"""One file per format and architecture, found by its name.

Each has `VERSION`, raised whenever its result changes, and `convert(source, target, tick)`, which reads the one file
`source`, and what the part takes beside it, and writes into the folder `target` what is then loaded. `tick` is told the
bytes written so far.
"""
