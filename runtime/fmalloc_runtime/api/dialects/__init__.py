"""The protocols that clients speak: LibreTranslate, DeepL, Open Inference Protocol, and our own."""
