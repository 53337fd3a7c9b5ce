"""Large corpora: features extracted and questions answered shard by shard, in this process or on Ray.

    corpus.py    what is worked through, in shards of so many samples
    pool.py      workers: this process, or actors of Ray Data
    ledger.py    the folder of a run: a file for each finished shard
    run.py       shards that are missing -> workers -> files, with progress, tolerance and a manifest
    extract.py   media -> features of frozen encoders, in the cache that training reads
    answer.py    questions -> answers

What a shard gives depends on the shard alone, so neither the number of workers nor an interruption changes any file.
"""
