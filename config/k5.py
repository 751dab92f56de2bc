k = 5  # all five default candidates with a fifth of the budget each
