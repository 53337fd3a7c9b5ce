"""One file for each encoder: media -> features. `isthmus.registry` finds it by its name.

A file gives ABOUT (a line for listings), KIND (of media), PART (its default part or None), SIZE (its default, in
pixels), `load(folder, **kwargs)` (the transformers model, without what features do not need),
`grid(config, size)` (how the features lie: (time,), (height, width) or (frames, height, width)) and
`encode(model, media)`. It may give `build(config)`, the model without weights, where `AutoModel` does not know it, and
`width(config)`, D of the features, where that is not the configuration's `hidden_size`.
"""
