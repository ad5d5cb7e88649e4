"""What the product is compared with: the obvious Temporal workflow, with default retries and
nothing of ours.

A worker is a process (`python -m tests.chaos.baseline worker`); `baseline_worker` is its Part for
an arena. It takes from its environment where Temporal and the providers are, under the product's
names, so that the same proxies can stand before it: TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE,
FAL_QUEUE_URL, FAL_KEY, REPLICATE_BASE_URL, REPLICATE_API_TOKEN.

    from tests.chaos.baseline.runs import begin, extra_paid, until_ended

    # prompts begin with the token, as the product's do
    runs = await begin(client, tokens, webhook=receiver.url)
    ends = await until_ended(client, runs, within_seconds=120)   # when each ended, and how
    extra_paid(bill_lines, tokens)                               # paid calls beyond one a step
"""
