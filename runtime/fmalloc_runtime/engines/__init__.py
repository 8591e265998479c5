"""What turns source tokens into target tokens: CTranslate2 and ONNX Runtime."""
