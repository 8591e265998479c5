"""Access control: API keys, rate limits and monthly quotas."""
