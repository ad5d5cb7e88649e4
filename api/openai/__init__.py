"""Routes below /v1 for the clients of OpenAI, which are used without a change."""
