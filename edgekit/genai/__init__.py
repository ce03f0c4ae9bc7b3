"""Language models in the folder layout of ONNX Runtime GenAI, whose C, C++, C# and Java APIs open it too."""
