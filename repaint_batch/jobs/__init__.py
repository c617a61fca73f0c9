"""What is known of a job besides its rows: the frozen plan, who runs it, what is set aside, how its devices were used.

An output holds::

    OUTPUT/jobs/JOB_ID/plan.json          what the job does, frozen before anything runs
    OUTPUT/jobs/JOB_ID/manifest.parquet   only for retries: the rows that run again
"""
