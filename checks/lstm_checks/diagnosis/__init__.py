"""What is wrong with a target that failed: one idea a file, put together by `lstm_checks.diagnosis.diagnose`."""
