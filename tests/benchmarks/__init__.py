"""What is measured rather than tested: ratios within one run, instruction counts."""
