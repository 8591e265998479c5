"""The chain of records: what was ever written in a store, by digest; each kind of record, and proofs of freeing."""
