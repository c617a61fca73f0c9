"""What is known of a job besides its rows: the frozen plan, who runs it, what is set aside, how its devices were used.

An output holds::

    OUTPUT/jobs/JOB_ID/plan.json          what the job does, frozen before anything runs
    OUTPUT/jobs/JOB_ID/plan.withdrawn.json   in its place, where the job was withdrawn
    OUTPUT/jobs/JOB_ID/manifest.parquet   only for retries: the rows that run again
    OUTPUT/jobs/JOB_ID/lease/, quarantine/, usage/, inflight/   who runs it, bad rows, use of devices, saved chains
"""
