"""The text pipeline: documents to sentences for a model, and translations back to documents."""
