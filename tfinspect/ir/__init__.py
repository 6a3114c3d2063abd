"""What a model is, in memory. Knows no file format, no protobuf and no runtime."""
