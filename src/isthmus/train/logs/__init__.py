"""One file for each place that a training's steps are written to; a recipe names them under `log`.

A file gives ABOUT and `Log(run, recipe)`, with `begin(stage, step)`, which forgets what an earlier sitting wrote of
that stage after the step, `step(number, **values)` and `close()`. `jsonl` is always written.
"""
