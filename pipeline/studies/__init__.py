"""Several runs in; an answer out: ablations, students of a teacher, measurements of time, dry runs."""
