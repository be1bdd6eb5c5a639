"""The pager under random inputs (libFuzzer), and in random programs (Hypothesis)."""
