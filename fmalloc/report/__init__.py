"""`fmalloc report`: one self-contained HTML page on what a memory store holds and how it was learned."""
