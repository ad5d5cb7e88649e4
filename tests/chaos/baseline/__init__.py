"""The baseline for comparisons: a plain Temporal workflow with default retries, without Takeone.

A worker is a process (`python -m tests.chaos.baseline worker`); `baseline_worker` is its Part for
a testbed. It reads the addresses of Temporal and the providers from the product's environment
variables, so that the same proxies can be used: TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE,
FAL_QUEUE_URL, FAL_KEY, REPLICATE_BASE_URL, REPLICATE_API_TOKEN.

    from tests.chaos.baseline.runs import begin, extra_paid, until_ended

    # prompts begin with the token, as the product's do
    runs = await begin(client, tokens, webhook=receiver.url)
    ends = await until_ended(client, runs, within_seconds=120)   # end and outcome of each
    extra_paid(bill_lines, tokens)                               # paid calls beyond one per step
"""
