"""One file for each connector. `isthmus.registry` finds it by its name.

    token-level      features -> soft tokens in the text      linear, mlp, qformer, resampler
    feature-level    ... and layers inside the LLM            gated_cross_attention, visual_expert

A file gives ABOUT (a line for listings) and `Connector(grid, width, llm_width, **options)`, a module that raises
`BadRecipe` for options that do not fit. A recipe writes the options beside the connector's name, and they are checked
by the types and bounds that the signature declares. The module has

- `num_tokens`, the slots of one medium in the text, and `forward(features)` -> what stands in them;
- `soft`, the `SoftTokens` that make soft tokens of features (itself, a part, or None), and `reads`, whether it wants
  the instruction's text as well;
- `join(llm, sight, kind)`, which puts its layers into the LLM, and `look(features, slots)`, what they see in a pass.

A token-level connector is a `SoftTokens` and writes `project` only.
"""
