k = 2  # two components with half of the budget each
