"""One file for each encoder: media -> features. `isthmus.registry` finds it by its name.

What a file gives, and what its caller may rely on, stands in docs/design.md, section "Adding an encoder"; the contract
tests hold every file here to it.
"""
