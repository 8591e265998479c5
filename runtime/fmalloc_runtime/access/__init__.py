"""Who may ask how much: API keys, rates and usage."""
