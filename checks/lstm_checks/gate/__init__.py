"""The regression gate: configuration, baseline, judgements, verdict and its reports."""
