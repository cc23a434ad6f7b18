"""What can be learnt from measurements after they were made: logs, comparisons, advice, draft trees."""
