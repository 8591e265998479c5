"""The protocols: LibreTranslate, DeepL, the Open Inference Protocol, our own, and health checks."""
