"""One file for each connector: features -> soft tokens. `isthmus.registry` finds it by its name.

A file gives ABOUT (a line for listings) and `Connector(features, width, llm_width, **options)`, a module from
[B, features, width] to [B, num_tokens, llm_width] that raises `BadRecipe` for options that do not fit. A recipe writes
the options beside the connector's name, and they are checked by the types and bounds that the signature declares.
"""
