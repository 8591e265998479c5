"""The memory store on disk: records, cells and tensors, read strictly. Free of torch."""
