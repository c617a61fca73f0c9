"""What a job is going to do, what it has done, and how the two agree.

An output holds::

    OUTPUT/results/                  the Delta table: one row a sample
    OUTPUT/jobs/JOB_ID/plan.json     what the job does, frozen before anything runs
    OUTPUT/jobs/JOB_ID/manifest.parquet   only for retries: the rows that run again
    OUTPUT/images/                   restored files or tars, with output.images: files or webdataset
"""
