"""What the sample submission's cells ask for: which class a column holds, how labels are spelt."""
