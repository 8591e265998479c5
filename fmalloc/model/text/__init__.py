"""Text for a model: token ids, as its tokenizer gives them, in batches of about equal length."""
